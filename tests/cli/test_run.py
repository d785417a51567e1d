"""`gsu-jax run`: a study of a folder of one's own."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from gsu_jax.cli import _experiment as experiment
from gsu_jax.cli._run import main


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs the command beside a folder of 60 gray images in two classes: status, out, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GSU_JAX_TRACEBACK", raising=False)
    monkeypatch.setenv("GSU_JAX_CACHE_DIR", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for label, low in (("dark", 0), ("bright", 100)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(low, low + 100, (8, 8), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{label}{i}.png")

    def run(words):
        monkeypatch.setattr(sys, "argv", ["gsu-jax run", *words.split(), "--no-program-cache"])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def study(monkeypatch):
    """What `run_study` would be called with; it is not run."""
    seen = {}

    def remember(config, source, out, **options):
        seen.update(options, config=config, source=source, out=out)
        raise OSError("stop here")

    monkeypatch.setattr(experiment, "run_study", remember)
    return seen


def test_options_change_what_was_chosen(run, study):
    words = "photos --forget files:dark3.png --epochs 7 --pretraining-epochs 4 --judge-gate 0.6"
    assert run(f"{words} --size 4 --holdout 0.5 --seeds 2")[0] == 2
    config = study["config"]
    assert (config.epochs, config.pretraining.epochs, config.judge_gate) == (7, 4, 0.6)
    assert config.forget == "files:dark3.png"
    assert study["source"].image_shape == (4, 4, 1)
    assert len(study["source"].test) == 30
    assert (str(study["out"]), study["seeds"]) == ("runs/photos", 2)
    assert [method.title for method in study["methods"]] == [
        "before", "retrain", "gradient_surgery", "redirect_surgery"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("photos", ["--forget"]),
        ("--forget dark", ["required"]),
        ("./photo --forget dark", ["error: photo does not exist"]),
        ("photo --forget dark", ["error: there is no file or folder 'photo'", "mnist"]),
        ("photos/dark/dark1.png --forget dark", ["dark1.png is a file"]),
        ("photos --forget drak", ["'drak'", "'dark'"]),
        ("photos --forget files:dark99.png", ["'dark99.png'"]),
        ("photos --forget dark --holdout 2", ["holdout", "2"]),
        ("photos --forget dark --methods surgery", ["--methods", "'surgery'"]),
        ("photos --forget dark --mesh eight", ["--mesh", "'eight'"]),
        ("photos --forget dark --holdout 0", ["no test images", "leave --holdout 0 out"]),
        ("photos --forgot dark", ["unknown option --forgot.", "'--forget'"]),
        ("photos --forget dark --sedes=3", ["unknown option --sedes.", "'--seeds'"]),
        ("photos --forget dark --no_quik", ["unknown option --no-quik.", "'--no-quick'"]),
    ],
)
def test_mistake_ends_in_one_line_and_status_2(run, words, parts):
    status, printed, errors = run(words)
    assert (status, printed) == (2, "")
    assert errors.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in errors
    assert all(part in errors for part in parts)


def test_a_held_out_file_is_refused_with_advice_that_works(run, study):
    held_out = [name for name in (f"dark/dark{i}.png" for i in range(30))
                if "holdout" in run(f"photos --forget files:{name}")[2]]  # fmt: skip
    assert len(held_out) == 6
    status, _, errors = run(f"photos --forget files:{held_out[0]}")
    assert status == 2
    assert all(name in errors for name in held_out)
    assert "smaller --holdout" in errors
    assert "unlearn alone takes load(..., holdout=0)" in errors
    free = [name for name in held_out
            if "stop here" in run(f"photos --forget files:{name} --holdout 0.1")[2]]  # fmt: skip
    assert len(free) == 3


def test_an_error_names_the_folder_once(run, tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "photos" / "dark" / "large.png")
    (tmp_path / "empty" / "dark").mkdir(parents=True)
    for given in ("photos", "./photos/", str(tmp_path / "photos")):
        _, _, errors = run(f"{given} --forget dark")
        assert errors.count("photos") == 1
        assert "Give --size to crop" in errors
    _, _, errors = run("empty --forget dark")
    assert errors.startswith("error: empty: no images")


@pytest.mark.slow
def test_a_smoke_test_of_a_folder_runs_from_files_to_report(run, tmp_path):
    status, printed, _ = run("photos --forget bright --quick --methods before gradient_surgery")
    assert status == 0
    assert printed.splitlines()[-1] == "report: runs/photos-quick/report.html"
    assert "the figures mean nothing" in printed
    results = json.loads((tmp_path / "runs/photos-quick/results.json").read_text())
    assert [row["method"] for row in results["rows"]] == ["before", "gradient_surgery"]
