"""What a study refuses, and that a refusal changes nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_study import DIVERGING, read, run_tiny, tiny_config

from gsu_jax import GradientAscent
from gsu_jax.data import ForgetClass, ForgetIndices
from gsu_jax.models import AllCNNConfig, MLPVAEConfig
from gsu_jax.storage import exclusive
from gsu_jax.study import Recipe


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"epochs": 2}, "epochs: 1 there, 2 now"),
        ({"forget": "2"}, "forget: '1' there, '2' now"),
        ({"model": MLPVAEConfig(widths=(16,), latent_size=4, beta=4.0)}, "beta: 1.0 there, 4.0"),
        ({"experiment": "other"}, "experiment: 'tiny' there, 'other' now"),
        ({"methods": (replace(DIVERGING, learning_rate=1.0),)}, "learning_rate: 1e[+]30 there"),
        ({"methods": (GradientAscent(label="before"),)}, "name: 'before' there, 'gradient_ascent'"),
    ],
)
def test_another_config_is_refused_with_the_difference(copy, no_work, files, changes, difference):
    before = files(copy)
    with pytest.raises(ValueError, match=difference):
        run_tiny(copy, **changes)
    assert files(copy) == before


def test_models_made_with_other_settings_are_refused(copy, no_work):
    (copy / "results.json").unlink()
    with pytest.raises(ValueError, match=r"retrain-0 .*\s+forget: '1' there, '2"):
        run_tiny(copy, forget="2")
    (copy / "results.json").unlink()
    with pytest.raises(ValueError, match=r"judge-0 .*\s+judging.epochs: 3 there"):
        run_tiny(copy, judging=Recipe(epochs=4))


def test_models_of_another_setting_of_a_method_are_refused(copy):
    (copy / "results.json").unlink()
    changed = replace(DIVERGING, learning_rate=1.0)
    with pytest.raises(ValueError, match=r"diverging-0 .*\s+method.learning_rate"):
        run_tiny(copy, methods=(changed,))


def test_method_that_this_release_does_not_know_is_refused(copy):
    results = read(copy)
    results["config"]["methods"]["diverging"]["name"] = "of_the_future"
    (copy / "results.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match=r"'diverging'.*of_the_future"):
        run_tiny(copy, methods=("before",))


def test_judge_below_its_gate_stops_the_study_before_generators_are_trained(tmp_path):
    with pytest.raises(ValueError, match=r"judge_gate .*got \d+\.\d%.*99\.9%"):
        run_tiny(tmp_path / "out", judge_gate=0.999)
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["judge-0"]


def test_second_run_in_one_folder_is_refused(copy, files):
    before = files(copy)
    with exclusive(copy), pytest.raises(ValueError, match="in use"):
        run_tiny(copy)
    assert files(copy) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"forget": "11"}, "forget.*'11'"),
        ({"forget": "files:1.png"}, "digits have no names of files"),
        ({"methods": ("surgery",)}, "method 'surgery'"),
        ({"methods": ()}, "methods .*got none"),
        ({"methods": ("before", "before")}, "methods .*got before, before"),
        ({"seeds": 0}, "seeds .*got 0"),
        ({"seeds": -1}, "seeds .*got -1"),
        ({"epochs": -1}, "epochs .*got -1"),
        ({"ensemble": -1}, "ensemble .*got -1"),
        ({"samples": 1}, "samples .*got 1"),
        ({"judge_gate": 95}, "judge_gate .*at most 1, got 95"),
        ({"second_judge_gate": -0.1}, "second_judge_gate .*at least 0, got -0.1"),
        ({"models_from": Path(__file__).parent}, "models-from .*tests/study"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        run_tiny(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_unknown_network_configs_are_refused():
    with pytest.raises(TypeError, match=r"model .*AllCNNConfig"):
        tiny_config(model=AllCNNConfig())
    with pytest.raises(TypeError, match=r"judge .*tuple"):
        tiny_config(judge=(4, 8))


@pytest.mark.parametrize("forget", [ForgetClass("1"), ForgetIndices([0, 5]), 1, None])
def test_request_that_is_no_text_is_refused_when_the_config_is_made(forget):
    with pytest.raises(TypeError, match=r'forget must be text.*"1".*got') as error:
        tiny_config(forget=forget)
    assert repr(forget) in str(error.value)
