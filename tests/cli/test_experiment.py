"""What a user of an experiment sees: help, one line for a mistake, and nothing else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_study
from PIL import Image
from report_rows import row
from report_rows import study as study_of
from tiny_study import tiny_config

import gsu_jax
from gsu_jax import GradientAscent
from gsu_jax.cli import _experiment as experiment

CONFIG = tiny_config(epochs=1)
READINGS = (GradientAscent(), GradientAscent(label="fast", learning_rate=1e-2))


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs the command line in an empty folder: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GSU_JAX_TRACEBACK", raising=False)

    def run(words="", config=CONFIG, **options):
        monkeypatch.setattr(sys, "argv", ["experiment.py", *words.split()])
        status = 0
        try:
            experiment.main(config, **{"seeds": 1} | options)
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def study(monkeypatch):
    """What `run_study` would be called with; it is not run."""
    seen = {}

    def remember(config, source, out, **options):
        seen.update(options, config=config, out=out)
        raise OSError("stop here")

    monkeypatch.setattr(experiment, "run_study", remember)
    return seen


def save_npz(path, **arrays):
    images = np.linspace(0, 1, 40 * 64, dtype=np.float32).reshape(40, 8, 8, 1)
    arrays = {"images": images, "labels": np.arange(40) % 2} | arrays
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def assert_refused(outcome, *words):
    status, printed, errors = outcome
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    for word in words:
        assert word in errors


def test_success_prints_the_table_and_the_report_and_no_errors(run, monkeypatch):
    results = {"rows": [{"method": "before", "seed": 0, "diverged": False, "fratio": 0.25}]}
    monkeypatch.setattr(experiment, "run_study", lambda *arguments, **options: results)
    status, printed, errors = run("--methods before --out there")
    assert (status, errors) == (0, "")
    assert "fratio" in printed
    assert "before" in printed
    assert printed.splitlines()[-1] == "report: there/report.html"


def test_table_in_a_pipe_fits_a_hundred_columns(run, monkeypatch):
    rows = [{**row("retrain", s), "fid_retain": 30.0 + s} for s in range(8)]
    rows += [row(f"gradient_surgery_{i}", s) for i in range(3) for s in range(3)]
    monkeypatch.setattr(experiment, "run_study", lambda *arguments, **options: study_of(rows))
    _, printed, _ = run("--methods before --out there")
    assert max(map(len, printed.splitlines())) <= 100
    for title in ("fratio", "FID retained", "coverage", "seconds"):
        assert title in printed


def test_log_is_named_before_the_first_stage_of_a_study(run, monkeypatch):
    said = []
    monkeypatch.setattr(experiment, "announce", said.append)
    monkeypatch.setattr(experiment, "run_study", lambda *arguments, **options: {"rows": []})
    run("--methods before --out there")
    assert said == ["progress: there/log.jsonl"]


# Mistakes


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--forget 11", ["forget", "'11'", "'1'"]),
        ("--forget Male", ["forget", "'Male'"]),
        ("--forget files:1.png", ["forget", "names", "indices:"]),
        ("--methods redirect_surgry", ["--methods", "'redirect_surgry'", "'redirect_surgery'"]),
        ("--methods", ["--methods"]),
        ("--methods before,retrain", ["spaces separate", "--methods before retrain"]),
        ("--seeds 0", ["seeds", "at least 1", "0"]),
        ("--epochs -1", ["epochs", "at least 0", "-1"]),
        ("--ensemble -1", ["ensemble", "at least 0", "-1"]),
        ("--models-from nowhere", ["--models-from nowhere"]),
        ("--models-from .", ["--models-from ."]),
        ("--dataset nonsense --data-dir .", ["--dataset nonsense", "'nonsense'"]),
        ("--dataset mnist --data-dir nowhere", ["--dataset mnist", "nowhere"]),
        ("--dataset ./nonsense", ["--dataset ./nonsense"]),
        ("--dataset own.npz", ["--dataset own.npz"]),
        ("--mesh data=16", ["--mesh data=16", "8 (cpu)"]),
        ("--mesh eight", ["--mesh", "'eight'"]),
        ("--mesh data=3", ["judging", "64", "3"]),
        ("--seeds two", ["--seeds", "'two'"]),
        ("--out", ["--out"]),
        ("--nonsense 3", ["unknown option --nonsense. Known: ", "--epochs"]),
        ("--epoch=3 --feature 1", ["unknown option --epoch. Did you mean '--epochs'"]),
        ("--feature 1 --seeds two", ["--seeds", "'two'"]),
        ("--dataset nonsense --size 0", ["error: --dataset nonsense: --size must be"]),
    ],
)
def test_mistake_ends_in_one_line_and_status_2(run, tmp_path, words, parts):
    assert_refused(run(words), *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arrays", "forget", "parts"),
    [
        ({"images": np.full((40, 8, 8, 1), 255.0)}, "1", ["images", "[0, 1]"]),
        ({"images": np.zeros((40, 8))}, "1", ["images", "four axes"]),
        ({"images": np.array([{}] * 40)}, "1", ["pickled"]),
        ({"labels": None}, "1", ["'labels'"]),
        ({"labels": np.zeros(40, int)}, "1", ["forget", "'1'"]),
        ({"labels": np.ones(40, int)}, "1", ["class 1"]),
        ({"Smiling": np.arange(40) % 3 == 0}, "Smilling", ["'Smilling'", "'Smiling'"]),
        ({"Young": np.arange(40) % 5 == 0}, "Yung=True", ["'Yung'", "'Young'"]),
    ],
)
def test_own_images_that_do_not_fit_are_refused(run, arrays, forget, parts):
    save_npz("own.npz", **arrays)
    assert_refused(run(f"--dataset own.npz --forget {forget}"), *parts)
    assert not Path("runs").exists()


def test_folder_of_images_without_classes_is_refused(run):
    Path("photos").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("photos/one.png")
    assert_refused(run("--dataset ./photos"), "--dataset ./photos", "class")


def test_images_of_several_sizes_name_the_option_that_resizes_them(run):
    for i in (8, 9):
        Path(f"photos/{i}").mkdir(parents=True)
        for j in range(3):
            Image.fromarray(np.zeros((i, i), np.uint8)).save(f"photos/{i}/{j}.png")
    assert_refused(run("--dataset ./photos --forget 8"), "--dataset ./photos", "--size")


def test_out_that_is_a_file_is_refused_and_left_alone(run):
    Path("precious").write_text("words")
    assert_refused(run("--out precious"), "--out precious")
    assert_refused(run("--out precious/inside"), "precious")
    assert Path("precious").read_text() == "words"


def test_missing_tyro_is_named_with_the_extra_that_has_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert_refused(run(), "tyro", "gsu-jax[experiments]")


def test_traceback_can_be_asked_for(run, monkeypatch):
    monkeypatch.setenv("GSU_JAX_TRACEBACK", "1")
    with pytest.raises(ValueError, match=r"seeds.* 0"):
        run("--seeds 0")


def test_bug_is_not_reported_as_a_mistake_of_the_user(run, monkeypatch):
    def faulty(*arguments, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(experiment, "run_study", faulty)
    with pytest.raises(RuntimeError, match="a bug"):
        run()


def test_interruption_says_how_to_resume(run, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "run_study", interrupted)
    status, _, errors = run()
    assert status == 130
    assert "the same command again resumes" in errors


# What reaches the study


def test_study_without_options_is_the_literal(run, study):
    run()
    assert study["config"] == CONFIG
    assert (study["seeds"], study["out"]) == (1, Path("runs/tiny"))
    assert (study["models_from"], study["mesh"]) == (None, None)
    # All but the one for diffusion models alone: the literal has a VAE.
    assert len(study["methods"]) == len(gsu_jax.METHODS) - 1


def test_options_replace_fields_of_the_literal(run, study):
    run("--forget 3 --epochs 4 --ensemble 5 --size 4 --seeds 7 --out there --mesh data=2")
    changed = {"forget": "3", "epochs": 4, "ensemble": 5, "image_size": 4}
    assert study["config"] == tiny_config(**changed)
    assert (study["seeds"], study["out"]) == (7, Path("there"))
    assert dict(study["mesh"].shape) == {"data": 2}


def test_preset_of_the_data_set_takes_the_place_of_the_literal(run, study):
    save_npz("own.npz")
    preset = tiny_config(dataset="own.npz", judge_gate=0.1)
    options = {"presets": [preset], "adjust": lambda config: tiny_config(image_size=config.epochs)}
    run("--dataset own.npz --epochs 2", presets=[preset])
    assert study["config"] == tiny_config(dataset="own.npz", judge_gate=0.1, epochs=2)
    run("--epochs 8", **options)
    assert study["config"] == tiny_config(image_size=8)


def test_preset_keeps_its_own_epochs_unless_told_otherwise(run, study):
    save_npz("own.npz")
    preset = tiny_config(dataset="own.npz", epochs=9)
    for words, epochs in (("", 1), ("--dataset own.npz", 9), ("--dataset own.npz --epochs 1", 1)):
        run(words, presets=[preset])
        assert study["config"].epochs == epochs


@pytest.mark.parametrize(
    ("words", "rows", "expected"),
    [
        ("--methods fast", ("all",), READINGS[1:]),
        ("--methods all fast", ("all",), READINGS),
        ("", ("all",), READINGS),
        ("", ("fast",), READINGS[1:]),
    ],
)
def test_methods_of_an_experiment_are_the_ones_that_can_be_named(run, study, words, rows, expected):
    run(words, methods=READINGS, rows=rows)
    assert study["methods"] == list(expected)


def test_method_that_an_experiment_does_not_have_is_refused(run):
    assert_refused(run("--methods before", methods=READINGS), "'before'", "gradient_ascent, fast")


# Help


def test_help_lists_every_option_with_its_default(run):
    status, printed, errors = run("--help", seeds=42)
    assert (status, errors) == (0, "")
    words = " ".join(printed.replace("│", " ").split())
    options = "forget dataset seeds epochs out methods ensemble size data-dir models-from mesh"
    for option in (*options.split(), "no-program-cache"):
        assert f"--{option} " in words
    for default in ("1", "digits", "42", "runs/tiny", "all"):
        assert f"(default: {default})" in words


def test_help_of_the_experiments_answers_before_flax_is_imported():
    code = (
        "import os, runpy, sys\n"
        "sys.path.insert(0, os.path.dirname(sys.argv[1]))\n"
        "for path in sys.argv[1:]:\n"
        "    sys.argv = [path, '--help']\n"
        "    try: runpy.run_path(path, run_name='__main__')\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "print(*{'flax', 'orbax', 'matplotlib', 'sklearn'} & sys.modules.keys(), file=sys.stderr)"
    )
    files = sorted((tiny_study.ROOT / "experiments").glob("*.py"))
    paths = [path for path in files if "__main__" in path.read_text()]
    shown = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        capture_output=True,
        text=True,
        env=tiny_study.ENVIRONMENT,
    )
    assert (shown.returncode, shown.stderr) == (0, "\n")
    assert shown.stdout.count("usage: ") == len(paths)
