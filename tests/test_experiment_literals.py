"""The settings of the experiments: a folder of an earlier release resumes only with the same."""

import runpy
from dataclasses import replace

import pytest
import tiny_study

from gsu_jax.networks import generator


@pytest.fixture(scope="module")
def scripts():
    """The names of each script in experiments/."""
    paths = (tiny_study.ROOT / "experiments").glob("*.py")
    return {path.stem: runpy.run_path(str(path)) for path in paths}


def made_with(config):
    """What the models and the judge of a study depend on, the request apart."""
    record = config.record()
    return {name: record[name] for name in ("classes", "model", "pretraining", "judge", "judging")}


@pytest.mark.parametrize(
    ("name", "lender"), [("DIGITS", "digits"), ("MNIST", "mnist"), ("CONFIG", "mnist138")]
)
def test_script_can_take_the_models_of_another(scripts, name, lender):
    borrower = scripts["readings" if name == "CONFIG" else "sweep"][name]
    config = scripts[lender]["CONFIG"]
    assert made_with(borrower) == made_with(config)
    assert borrower.judge_gate == config.judge_gate
    assert (borrower.dataset, borrower.epochs) == (config.dataset, config.epochs)


def test_record_of_mnist138_without_a_second_judge_is_that_of_earlier_releases(scripts):
    config = replace(scripts["mnist138"]["CONFIG"], second_judge=None)
    assert config.record() == {
        "experiment": "mnist138",
        "dataset": "mnist",
        "forget": "1",
        "model": {
            "type": "MLPVAEConfig",
            "image_shape": (28, 28, 1),
            "widths": (400, 400),
            "latent_size": 20,
            "beta": 1.0,
            "likelihood": "bernoulli",
            "variance": 0.02,
            "dtype": "float32",
        },
        "classes": ("1", "3", "8"),
        "image_size": None,
        "judge": {
            "type": "AllCNNConfig",
            "classes": 2,
            "channels": 1,
            "widths": (16, 32),
            "dropout": 0.0,
        },
        "judge_gate": 0.99,
        "pretraining": {
            "epochs": 60,
            "batch_size": 128,
            "learning_rate": 0.001,
            "one_cycle": False,
        },
        "judging": {"epochs": 6, "batch_size": 128, "learning_rate": 0.003, "one_cycle": True},
        "epochs": 1,
        "ensemble": 8,
        "samples": 10_000,
    }


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion", "mnist138", "faces"])
def test_second_judge_is_of_another_architecture(scripts, name):
    script = scripts[name]
    configs = [script["CONFIG"]] if name != "faces" else [script["CELEB_A"], script["FAIRFACE"]]
    for config in configs:
        assert config.second_judge is not None
        assert type(config.second_judge) is not type(config.judge)
        assert config.second_judge_gate > 0.5


def test_readings_are_rows_of_different_settings(scripts):
    readings = scripts["readings"]["READINGS"]
    rows = [method.title for method in readings]
    assert len(set(rows)) == len(rows)
    # All of two rules, 1 or 4 retain gradients, three losses, before or after Adam.
    assert sum(row.startswith("surgery-") for row in rows) == 2 * 2 * 3 * 2
    assert "surgery-always-k1-elbo-model-before" in rows
    # No label hides a second run of the same settings.
    assert len({(method.name, replace(method, label="")) for method in readings}) == len(readings)
    model = generator(tiny_study.tiny_config().model)
    for method in readings:
        method.check(model)
