"""`gsu-jax verdicts`: the verdict of each line for each method, and the self-test of the audit."""

import json

import pytest

from gsu_jax.cli.experiments import verdicts
from gsu_jax.cli.experiments._high_rate import HIGH
from gsu_jax.cli.experiments._verdict_desk import Asked
from gsu_jax.cli.experiments._verdict_tables import Column, tables

SCRIPT = "verdicts.py"
pytestmark = pytest.mark.usefixtures("quiet")
FAILED = {"retrained": 0, "original": 4, "fine_tuned": 3}
RECORD = {
    "settings": {"level": 0.9929},
    "lines": {
        "V1 utility": {"verdict": "PASSED", "statistic": -0.0127, "n": 323, "power": 1.0,
                       "says": "bound of retained images -1.27% [-1.5%, -0.9%], budget 5.00%"},
        "V3 evidence": {"verdict": "FAILED", "statistic": 4.2, "n": 4, "power": 0.93,
                        "says": "-25.1; retrained -27, original -24; fails outside [-28, -26]"},
        "V10 recovery": {"verdict": "NOT RUN", "statistic": None, "n": 0, "power": 0.0,
                         "says": "the model has no decoder"},
        "self-test": {"verdict": "PASSED", "statistic": 1.0, "n": 4, "power": 1.0,
                      "says": "held-out retrained models pass 100.0% of the lines"},
    },
    "calibration": {
        "V3 evidence": {"low": -28, "high": -26, "power": 0.93, "failed": FAILED,
                        "models": dict.fromkeys(FAILED, 4),
                        "says": "fails outside [-28, -26]: 0 of 4 held-out retrained, ..."},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--dataset digit", "'digit'. Did you mean 'digits'?"),
        ("--forget 11", "--forget: unknown class of digits '11'"),
        ("--forget 1 1", "--forget must name each once, got 1 1"),
        ("--methods fine_tun", "'fine_tun'. Did you mean 'fine_tune' or"),
        ("--methods before", "--methods: unknown method 'before'"),
        ("--methods retrain retrain", "--methods must name each once, got retrain retrain"),
        ("--ensemble 2", "--ensemble must be at least 3, got 2"),
        ("--samples 10", "--samples must be at least 100, got 10"),
        ("--images -1", "--images must be at least 0, got -1"),
        ("--images 1438", "--images must be below"),
        ("--images 10 --forget 1", "--forget and --images are two requests: give one of them"),
        ("--shadows 9", "--shadows must be even, got 9"),
        ("--shadows 6", "--shadows must be at least 8, got 6"),
        ("--train-epochs 0", "--train-epochs must be at least 1, got 0"),
        ("--utility-budget 0", "--utility-budget must be above 0, got 0"),
        ("--ensembl 8", "--ensembl. Did you mean '--ensemble'"),
    ],
)
def test_mistake_ends_in_one_line_and_status_2(refuses, words, message):
    assert refuses(words, message)


def test_folder_of_other_settings_is_refused(run, tmp_path):
    kept = {"dataset": "digits", "train_epochs": 100, "utility_budget": 0.05, "samples": 10_000}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "arguments.json").write_text(json.dumps(kept | {"ensemble": 16}))
    status, _, errors = run("--out out")
    assert status == 2
    assert "--out out was begun with --ensemble 16, now 10: give another folder" in errors


def test_table_has_a_column_for_each_method_and_says_what_fails():
    rolled = Column({}, "", "utility budget exceeded: up to 0.2000, allowed 0.0500")
    columns = {"siss": rolled, "fine_tune": Column(RECORD, "FAILED, by V3 evidence", "")}
    found = tables("digits, forget 1", columns).splitlines()
    assert "`siss` was rolled back: utility budget exceeded: up to 0.2000, allowed 0.0500." in found
    assert "| line | fails | n | `fine_tune` |" in found
    assert "| V1 utility | above the budget | 323 | PASSED -1.27% (1.00) |" in found
    assert "| V3 evidence | outside [-28, -26] | 4 | **FAILED -25.1 (0.93)** |" in found
    assert "| V10 recovery |  | 0 | NOT RUN: the model has no decoder |" in found
    assert "| **verdict** | | | FAILED, by V3 evidence |" in found
    assert "| V3 evidence | outside [-28, -26] | 0 of 4 | 4 of 4 | 3 of 4 | 0.93 |" in found
    assert any(line.startswith("Self-test, PASSED: held-out") for line in found)


def test_attack_of_a_list_is_told_in_a_sentence():
    says = "AUC 0.512 [0.44, 0.58]; 100 images against 128, 64 shadows; fails outside [0.4, 0.6]"
    line = {"verdict": "PASSED", "statistic": 0.512, "n": 10, "power": 0.9, "says": says}
    record = RECORD | {"lines": {"V6 membership": line}}
    found = tables("100 images", {"retrain": Column(record, "PASSED", "")}).splitlines()
    assert f"- `retrain`, V6 membership: {says}." in found
    assert "| V6 membership |  | 10 | PASSED AUC 0.512 [0.44, 0.58] (0.90) |" in found


def test_methods_that_were_all_rolled_back_have_no_table():
    rolled = Column({}, "", "utility budget exceeded")
    assert tables("a", {"siss": rolled}).endswith("No method was verified.")


def test_settings_name_models_and_classes_that_are_there():
    for setting in verdicts.SETTINGS.values():
        assert callable(getattr(verdicts, setting.model))
        assert set(setting.forget) <= set(setting.classes or setting.forget)


def test_a_high_rate_is_fine_tune_with_three_times_the_rate_for_a_third_of_the_epochs(tmp_path):
    setting = verdicts.SETTINGS["digits"]
    asked = Asked("1", "1", "class", "class", ["1"], 1)
    desk = verdicts._desk(tmp_path, verdicts.Arguments(), setting, None, 100)
    trained = desk.training.learning_rate
    found = {name: desk._request(asked, "r", name) for name in (HIGH, "fine_tune", "retrain")}
    assert {
        name: (each.method, each.epochs, each.learning_rate) for name, each in found.items()
    } == {
        HIGH: ("fine_tune", 33, pytest.approx(3 * trained)),
        "fine_tune": ("fine_tune", None, None),
        "retrain": ("retrain", 100, None),
    }


@pytest.mark.slow
def test_list_is_attacked_with_shadow_models_that_all_methods_share(run, tmp_path):
    words = "--images 20 --shadows 8 --ensemble 3 --train-epochs 2 --samples 200 --out out"
    status, printed, errors = run(f"{words} --methods fine_tune gradient_ascent")
    assert (status, errors) == (0, "")
    assert "### digits, forget 20 images" in printed
    assert "- `fine_tune`, V6 membership: AUC " in printed
    assert (tmp_path / "out" / "verdicts-20-images.md").is_file()
    kept = {path.name for path in (tmp_path / "out/models/ids-20-images/checkpoints").iterdir()}
    assert {"shadow-7", "retrained-2"} <= kept
    status, _, errors = run(f"{words} --methods fine_tune --shadows 10")
    assert status == 2
    assert "--out has 8 shadow models of 20 images" in errors
    cases = tmp_path / "out" / "removals"
    assert not list(cases.rglob("shadow-*"))


@pytest.mark.slow
def test_run_trains_models_once_for_all_methods_and_resumes(run, tmp_path):
    words = "--forget 1 --ensemble 3 --train-epochs 2 --samples 200 --methods {} --out out"
    status, printed, errors = run(words.format("fine_tune") + " --no-program-cache")
    assert (status, errors) == (0, "")
    assert "| line | fails | n | `fine_tune` |" in printed
    models = tmp_path / "out" / "models"
    first = {path: path.stat().st_mtime_ns for path in models.rglob("*") if path.is_file()}
    names = {path.name for path in (models / "class-1" / "checkpoints").iterdir()}
    assert {"retrained-0", "fine_tuned-2", "judge-0"} <= names
    assert (models / "originals" / "checkpoints" / "original-2").is_dir()
    status, printed, _ = run(words.format("fine_tune gradient_ascent"))
    assert status == 0
    assert "`gradient_ascent`" in printed
    again = {path: path.stat().st_mtime_ns for path in models.rglob("*") if path.is_file()}
    logs = {path for path in first if path.suffix == ".jsonl"}
    assert {p: t for p, t in again.items() if p not in logs} == {
        p: t for p, t in first.items() if p not in logs
    }
