"""What a user of an experiment sees: help, one message for one mistake, and nothing else."""

import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_study
from PIL import Image
from tiny_study import read, tiny_config

from gsu_jax import GradientAscent
from gsu_jax.cli import Arguments
from gsu_jax.cli import _experiment as command_line
from gsu_jax.networks import generator
from gsu_jax.study import _study as study

EXPERIMENTS = tiny_study.ROOT / "experiments"
DEFAULTS = Arguments(forget="1", dataset="digits", seeds=1, epochs=1, out=Path("out"))


def config(arguments):
    return tiny_config(
        dataset=arguments.dataset,
        forget=arguments.forget,
        epochs=arguments.epochs,
        ensemble=arguments.ensemble,
    )


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs the command line in an empty folder: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GSU_JAX_TRACEBACK", raising=False)

    def run(*words, **options):
        monkeypatch.setattr(sys, "argv", ["experiment.py", *map(str, words)])
        status = 0
        try:
            command_line.main(config, DEFAULTS, **options)
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


def save_npz(path, **arrays):
    images = np.linspace(0, 1, 40 * 64, dtype=np.float32).reshape(40, 8, 8, 1)
    arrays = {"images": images, "labels": np.arange(40) % 2} | arrays
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def test_success_prints_the_table_and_the_report_and_nothing_on_standard_error(run):
    status, printed, errors = run("--methods", "before", "--out", "there")
    assert (status, errors) == (0, "")
    assert printed.splitlines()[-1] == "report: there/report.html"
    assert "fratio" in printed.splitlines()[0]
    assert Path("there/report.html").exists()
    assert [row["method"] for row in read("there")["rows"]] == ["before"]

    refused = run("--methods", "before", "--out", "there", "--epochs", "2")
    assert refused[0] == 2
    assert "epochs: 1 there, 2 now" in refused[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--forget 11", "forget: '11' is no class or attribute of digits. Did you mean '1'?"),
        ("--forget Male", "'Male' is no class or attribute of digits"),
        ("--forget indices:0,5", "a study judges samples by a class or an attribute"),
        ("--methods redirect_surgry", "--methods: unknown method 'redirect_surgry'. Did you"),
        ("--methods", "--methods: name at least one, or all"),
        ("--seeds 0", "seeds must be at least 1, found 0."),
        ("--seeds -2", "seeds must be at least 1, found -2."),
        ("--epochs -1", "epochs must be at least 0, found -1."),
        ("--ensemble -1", "ensemble must be at least 0, found -1."),
        ("--models-from nowhere", "--models-from nowhere is no folder; give the --out of another"),
        ("--models-from .", "--models-from . holds no checkpoints; give the --out of another"),
        ("--dataset nonsense --data-dir .", "--dataset nonsense: unknown data set 'nonsense'"),
        ("--dataset mnist --data-dir nowhere", "the folder nowhere does not exist"),
        ("--dataset mnist --data-dir .", "mnist is not prepared in ."),
        ("--dataset ./nonsense", "--dataset ./nonsense: the folder nonsense does not exist"),
        ("--dataset own.npz", "--dataset own.npz: the file own.npz does not exist"),
        (
            "--mesh data=16",
            "--mesh data=16 asks for 16 devices, found 8 (cpu); give at most 8",
        ),
        ("--mesh eight", "--mesh 'eight' is not of the form data=N"),
        (
            "--mesh data=3",
            "judging: a batch of 64 images does not divide over mesh axis 'data' of 3",
        ),
        ("--seeds two", "--seeds"),
        ("--nonsense 3", "--nonsense"),
    ],
)
def test_mistake_ends_in_one_message_and_status_2(run, tmp_path, words, message):
    status, printed, errors = run(*words.split())
    assert (status, printed) == (2, "")
    assert message in errors
    assert "Traceback" not in errors
    assert errors.count("error") <= 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.full((40, 8, 8, 1), 255.0)}, "images must lie in [0, 1]"),
        ({"labels": None}, "there is no array 'labels', found images"),
        ({"images": np.zeros((40, 8))}, "images must have four axes"),
        ({"images": np.array([{}] * 40)}, "pickled Python objects, which are never loaded"),
        ({"labels": np.zeros(40, int)}, "forget: '1' is no class"),
    ],
)
def test_unusable_images_of_ones_own_end_in_one_message(run, arrays, message):
    save_npz("own.npz", **arrays)
    status, printed, errors = run("--dataset", "own.npz")
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ")
    assert message in errors
    assert not Path("out").exists()


def test_unknown_attribute_is_refused_with_the_near_ones(run):
    save_npz("own.npz", Smiling=np.arange(40) % 3 == 0, Young=np.arange(40) % 5 == 0)
    status, _, errors = run("--dataset", "own.npz", "--forget", "Smilling")
    assert status == 2
    assert "'Smilling' is no class or attribute of own. Did you mean 'Smiling'?" in errors
    status, _, errors = run("--dataset", "own.npz", "--forget", "Yung=True")
    assert status == 2
    assert "unknown attribute 'Yung'. Did you mean 'Young'?" in errors
    assert not Path("out").exists()


def test_folder_of_images_without_classes_is_refused(run):
    Path("photos").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("photos/one.png")
    status, printed, errors = run("--dataset", "./photos")
    assert (status, printed) == (2, "")
    assert errors.startswith("error: --dataset ./photos: ")
    assert "class" in errors


def test_request_that_retains_nothing_is_refused(run):
    save_npz("own.npz", labels=np.ones(40, int))
    status, _, errors = run("--dataset", "own.npz", "--forget", "1")
    assert status == 2
    assert "nothing would be retained" in errors


def test_out_that_is_a_file_is_refused_and_left_alone(run):
    Path("precious").write_text("words")
    assert run("--out", "precious") == (
        2,
        "",
        "error: --out precious is a file; give a folder.\n",
    )
    assert run("--out", "precious/inside")[0] == 2
    assert Path("precious").read_text() == "words"


def test_methods_of_an_experiment_are_the_ones_that_can_be_named(run, monkeypatch):
    seen = {}

    def remember(study, source, out, **options):
        seen.update(options, out=out)
        raise OSError("stop here")

    monkeypatch.setattr(study, "run_study", remember)
    readings = (GradientAscent(), GradientAscent(label="fast", learning_rate=1e-2))
    assert run("--methods", "fast", "--seeds", "7", methods=readings)[2] == "error: stop here\n"
    expected = {"methods": [readings[1]], "seeds": 7, "models_from": None, "out": Path("out")}
    assert seen == expected | {"mesh": None}
    run(methods=readings)
    assert seen["methods"] == list(readings)
    run("--methods", "all", "fast", methods=readings)
    assert seen["methods"] == list(readings)
    assert "Known: gradient_ascent, fast" in run("--methods", "before", methods=readings)[2]


def test_mesh_of_the_command_line_is_that_of_the_study(run, monkeypatch):
    def stop(*arguments, mesh, **options):
        raise OSError(f"on {dict(mesh.shape)}")

    monkeypatch.setattr(study, "run_study", stop)
    assert run("--mesh", "data=2") == (2, "", "error: on {'data': 2}\n")


def test_interruption_says_how_to_go_on(run, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run_study", interrupted)
    status, _, errors = run()
    assert status == 130
    assert "the same command again goes on from here" in errors


def test_a_fault_of_the_program_is_not_hidden_as_a_mistake_of_the_user(run, monkeypatch):
    def faulty(*arguments, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(study, "run_study", faulty)
    with pytest.raises(RuntimeError, match="a bug"):
        run()


def test_traceback_can_be_asked_for(run, monkeypatch):
    monkeypatch.setenv("GSU_JAX_TRACEBACK", "1")
    with pytest.raises(ValueError, match="seeds must be"):
        run("--seeds", "0")


def test_help_lists_every_option_with_the_defaults_of_the_experiment(run):
    status, printed, errors = run("--help")
    assert (status, errors) == (0, "")
    for option in ("forget", "dataset", "seeds", "epochs", "out", "methods", "ensemble"):
        assert f"--{option}" in printed
    assert "--data-dir" in printed
    assert "--models-from" in printed
    words = " ".join(printed.replace("│", " ").split())
    for default in ("1", "digits", "out", "all"):
        assert f"(default: {default})" in words


def test_defaults_can_be_changed_by_an_experiment(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["experiment.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        command_line.main(config, replace(DEFAULTS, seeds=42))
    assert "(default: 42)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["digits", "fashion", "mnist", "mnist138", "readings"])
def test_help_of_an_experiment_answers_before_flax_is_imported(name, tmp_path):
    code = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('flax' in sys.modules, file=sys.stderr)"
    )
    path = EXPERIMENTS / f"{name}.py"
    shown = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=tiny_study.ENVIRONMENT | {"PYTHONPATH": f"{tiny_study.ROOT}:{EXPERIMENTS}"},
    )
    assert shown.returncode == 0
    assert "--methods" in shown.stdout
    assert shown.stderr == "False\n"


def test_readings_are_rows_of_different_settings(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    readings = runpy.run_path(str(EXPERIMENTS / "readings.py"))["READINGS"]
    rows = [method.title for method in readings]
    assert len(set(rows)) == len(rows)
    # All of two moments, 1 or 4 retain gradients, three losses, before or after Adam.
    assert sum(row.startswith("surgery-") for row in rows) == 2 * 2 * 3 * 2
    assert "surgery-always-k1-elbo-model-before" in rows
    settings = {(method.name, replace(method, label="")) for method in readings}
    # The plain reading stands for itself alone: no label hides a second run of one setting.
    assert len(settings) == len(readings)
    model = generator(tiny_config().model)
    for method in readings:
        method.check(model)


def test_mistake_in_a_process_of_its_own_gives_status_2_and_no_traceback(tmp_path):
    refused = subprocess.run(
        [sys.executable, EXPERIMENTS / "digits.py", "--forget", "eleven"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=tiny_study.ENVIRONMENT,
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: forget: 'eleven' is no class")
    assert refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
