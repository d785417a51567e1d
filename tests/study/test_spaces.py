"""The spaces of an arena and the trials drawn from them."""

from dataclasses import fields, replace
from functools import partial

import gaussian_vae
import jax
import linear_diffusion
import numpy as np
import pytest
import tiny_study
from linear_autoencoder import images
from method_steps import KEY, two_steps

from gsu_jax import METHODS, GradientAscent
from gsu_jax.data import concatenate
from gsu_jax.methods import NegGradPlus, can_work_on, get_method
from gsu_jax.networks import generator
from gsu_jax.study import DIFFUSION_SPACES, SPACES, draw_trials, spaces_for

EFFORT = (
    "batch_size",
    "least_steps",
    "fisher_images",
    "iterations",
    "effort",
    "retain_batch_size",
)
TRIALS = 20
KINDS = {"VAE": SPACES, "diffusion": DIFFUSION_SPACES}
ROWS = [(kind, name) for kind, spaces in KINDS.items() for name in spaces]
SETS = concatenate(images(2, 11, offset=0.4), images(3, 21))


def model_of(kind):
    if kind == "diffusion":
        return linear_diffusion.MODEL
    return generator(tiny_study.tiny_config().model)


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_that_unlearns_a_model_of_the_kind_has_a_space(kind):
    model = model_of(kind)
    able = {name: m for name, m in METHODS.items() if can_work_on(m, model)}
    assert {*KINDS[kind]} == {name for name, method in able.items() if method.role == "method"}
    assert spaces_for(model) is KINDS[kind]


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_space_has_few_settings_and_an_effort_of_few_choices(kind, name):
    space = KINDS[kind][name]
    effort = [setting for setting in space if setting in EFFORT]
    assert len(effort) == 1
    values = space[effort[0]]
    assert isinstance(values, list)
    assert 2 <= len(values) <= 4
    assert 1 <= len(space) - 1 <= 3


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_trials_are_the_default_and_different_settings_that_the_method_takes(kind, name):
    method, model, space = get_method(name), model_of(kind), KINDS[kind][name]
    tried = draw_trials(method, space, TRIALS)
    assert [t.title for t in tried] == [f"{name}-trial-{i:02d}" for i in range(TRIALS)]
    settings = [replace(t, label="") for t in tried]
    assert settings[0] == method
    assert len({*settings}) == TRIALS
    for trial in tried:
        trial.check(model)
    for setting, values in space.items():
        found = [getattr(t, setting) for t in tried[1:]]
        if isinstance(values, list):
            assert {*found} == {*values}
        else:
            assert values[0] * 0.999 <= min(found)
            assert max(found) <= values[1] * 1.001
    tuned = {*space, "label"}
    for field in {f.name for f in fields(method)} - tuned:
        assert {getattr(t, field) for t in tried} == {getattr(method, field)}


@pytest.mark.parametrize(
    ("kind", "name"),
    [row for row in ROWS if "redirect_f" not in row[1]],  # takes ten seconds
)
def test_no_setting_of_a_space_is_dead_on_the_model(kind, name):
    """Another value gives another program: a setting that nothing reads is not in it."""
    model = linear_diffusion.MODEL if kind == "diffusion" else gaussian_vae.MODEL
    method, space, params = get_method(name), KINDS[kind][name], model.init(KEY)

    def program(method):
        steps = partial(two_steps, method, model)
        jaxpr = jax.make_jaxpr(steps)(params, SETS, KEY)
        return str(jaxpr), [np.asarray(const).tolist() for const in jaxpr.consts]

    ends = {
        setting: values if isinstance(values, list) else values[:2]
        for setting, values in space.items()
        if setting not in EFFORT
    }
    default = program(method)
    for setting, values in ends.items():
        others = [value for value in values if value != getattr(method, setting)]
        assert program(replace(method, **{setting: others[-1]})) != default, setting


def test_dead_setting_is_found():
    """`forget_share` of `retrack` acts on a VAE alone."""
    space = {"forget_share": (0.1, 0.9, "linear")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DIFFUSION_SPACES, "retrack", space)
        with pytest.raises(AssertionError, match="forget_share"):
            test_no_setting_of_a_space_is_dead_on_the_model("diffusion", "retrack")


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
