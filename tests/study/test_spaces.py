"""The spaces of an arena and the trials drawn from them."""

from dataclasses import fields, replace

import numpy as np
import pytest
import tiny_study

from gsu_jax import METHODS, GradientAscent
from gsu_jax.methods import NegGradPlus, get_method
from gsu_jax.networks import generator
from gsu_jax.study import SPACES, draw_trials

EFFORT = ("batch_size", "least_steps", "fisher_images", "iterations", "effort")
TRIALS = 20


def test_every_method_that_unlearns_a_vae_has_a_space():
    methods = {name: m for name, m in METHODS.items() if "denoise" not in m.needs}
    assert {*SPACES} == {name for name, method in methods.items() if method.role == "method"}


@pytest.mark.parametrize("name", SPACES)
def test_space_has_two_or_three_settings_and_an_effort_of_few_choices(name):
    effort = [setting for setting in SPACES[name] if setting in EFFORT]
    assert len(effort) == 1
    values = SPACES[name][effort[0]]
    assert isinstance(values, list)
    assert 2 <= len(values) <= 3
    assert 1 <= len(SPACES[name]) - 1 <= 3


@pytest.mark.parametrize("name", SPACES)
def test_trials_are_the_default_and_different_settings_that_the_method_takes(name):
    method, model = get_method(name), generator(tiny_study.tiny_config().model)
    tried = draw_trials(method, SPACES[name], TRIALS)
    assert [t.title for t in tried] == [f"{name}-trial-{i:02d}" for i in range(TRIALS)]
    settings = [replace(t, label="") for t in tried]
    assert settings[0] == method
    assert len({*settings}) == TRIALS
    for trial in tried:
        trial.check(model)
    for setting, values in SPACES[name].items():
        found = [getattr(t, setting) for t in tried[1:]]
        if isinstance(values, list):
            assert {*found} == {*values}
        else:
            assert values[0] * 0.999 <= min(found)
            assert max(found) <= values[1] * 1.001
    tuned = {*SPACES[name], "label"}
    for field in {f.name for f in fields(method)} - tuned:
        assert {getattr(t, field) for t in tried} == {getattr(method, field)}


def test_more_trials_extend_the_earlier_ones():
    space = SPACES["siss"]
    assert draw_trials(get_method("siss"), space, 20)[:5] == draw_trials(
        get_method("siss"), space, 5
    )


def test_trials_fill_a_logarithmic_range_evenly():
    tried = draw_trials(GradientAscent(), {"learning_rate": (1e-4, 1e-2, "log")}, 33)
    logs = np.log10([t.learning_rate for t in tried[1:]])
    counts, _ = np.histogram(logs, bins=4, range=(-4, -2))
    assert counts.min() >= 6


def test_integer_setting_gets_integers():
    tried = draw_trials(GradientAscent(), {"batch_size": (16, 64, "log")}, 9)
    assert all(isinstance(t.batch_size, int) for t in tried)
    assert {t.batch_size for t in tried[1:]} <= {*range(16, 65)}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learning_rat": (1e-4, 1e-2, "log")}, "'learning_rat'. Did you mean 'learning_rate'?"),
        ({"label": ["a"]}, "'label'"),
        ({"learning_rate": (1e-2, 1e-4, "log")}, r"'learning_rate'\] must be"),
        ({"learning_rate": (0.0, 1e-2, "log")}, r"'learning_rate'\] must be"),
        ({"learning_rate": (1e-4, 1e-2)}, r"'learning_rate'\] must be"),
        ({"learning_rate": (1e-4, 1e-2, "cubic")}, r"'learning_rate'\] must be"),
        ({"learning_rate": []}, r"'learning_rate'\] must be"),
        ({"learning_rate": 1e-4}, r"'learning_rate'\] must be"),
    ],
)
def test_space_that_does_not_fit_the_method_is_refused(space, message):
    with pytest.raises(ValueError, match=message):
        draw_trials(GradientAscent(), space, 9)


def test_value_that_the_method_refuses_is_refused():
    with pytest.raises(ValueError, match="retain_share must be at most 1"):
        draw_trials(NegGradPlus(), {"retain_share": (0.5, 2.0, "linear")}, 9)
