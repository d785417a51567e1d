"""The command line of `experiments/sweep.py`."""

import runpy
from pathlib import Path

import pytest
import tiny_study

from gsu_jax import study
from gsu_jax.study import SweepResults

EXPERIMENTS = tiny_study.ROOT / "experiments"


SCRIPT = "sweep.py"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--learning-rates 1e-3 -1", "got -1"),
        ("--learning-rates x", "--learning-rates"),
        ("--retain-weights", "retain_weights"),
        ("--epochs -1", "epochs"),
        ("--forget 11", "'11'"),
        ("--dataset mnist --data-dir nowhere", "--dataset mnist: "),
    ],
)
def test_mistake_ends_in_one_message_and_status_2(refuses, words, message):
    assert refuses(words, message)


@pytest.mark.parametrize("best", [None, {"settings": {"label": "rate-1-weight-0"}}])
def test_sweep_prints_its_table_and_where_the_front_and_the_best_setting_are(
    run, monkeypatch, best
):
    seen = []
    row = {"method": "before", "seed": 0, "diverged": False, "fratio": 0.1}

    def remember(config, source, out, **options):
        seen.append((config.experiment, config.epochs, config.ensemble, out, options))
        results = {"schema": 1, "experiment": "sweep", "config": {}, "rows": [row]}
        return SweepResults(results, {"rule": "lowest"}, best)

    monkeypatch.setattr(study, "run_sweep", remember)
    words = "--learning-rates 1e-4 2e-3 --retain-weights 0 --seeds 2 --budget 5 --out there"
    status, printed, _ = run(words)
    assert status == 0
    chosen = "none" if best is None else f"rate-1-weight-0, in {Path('there/best.json')}"
    lines = printed.splitlines()
    assert lines[-2:] == ["front: there/front.png", f"best: {chosen} (the rule: lowest)"]
    assert any(line.startswith("before") for line in lines)
    options = {"learning_rates": (1e-4, 2e-3), "retain_weights": (0.0,), "seeds": 2, "budget": 5.0}
    assert seen == [("sweep", 20, 0, Path("there"), options | {"models_from": None})]


def test_sweep_takes_the_model_and_the_epochs_of_its_data(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    module = runpy.run_path(str(EXPERIMENTS / "sweep.py"))
    mnist = module["config"](module["Arguments"](dataset="mnist"))
    assert (mnist.epochs, mnist.model.image_shape) == (1, (28, 28, 1))
