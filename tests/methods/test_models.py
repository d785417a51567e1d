"""The page of every method says on which models it runs, and it does."""

import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import linear_diffusion
import numpy as np
import pytest
from linear_autoencoder import images
from method_steps import KEY, two_steps

from gsu_jax import METHODS, GenerativeModel
from gsu_jax.data import concatenate
from gsu_jax.methods import can_work_on, check_method
from gsu_jax.models import (
    ConditionalVAEConfig,
    ConvVAEConfig,
    MLPDiffusionConfig,
    MLPVAEConfig,
    TransformerDiffusionConfig,
)
from gsu_jax.networks import conditional_vae, generator

PAGES = Path(__file__).parents[2] / "docs" / "methods"
ROW = re.compile(r"^\| models \| (.*?) \|$", re.M)
NEEDS = re.compile(r"^\| \[`(\w+)`\]\(\w+\.md\) \|[^|]*\| ([^|]*)\|", re.M)

VAES, DIFFUSION, OTHERS = "VAEs", "diffusion", "any other with a loss"
SHAPE = (8, 8, 1)
# What the library ships, and a model that has nothing but what every model has.
SHIPPED = {
    "MLP VAE": (VAES, MLPVAEConfig(SHAPE, widths=(4,), latent_size=2)),
    "convolutional VAE": (VAES, ConvVAEConfig(SHAPE, widths=(4,), latent_size=2)),
    "MLP diffusion": (DIFFUSION, MLPDiffusionConfig(SHAPE, width=8, depth=1)),
    "transformer diffusion": (
        DIFFUSION,
        TransformerDiffusionConfig(SHAPE, patch=4, width=8, depth=1, heads=2),
    ),
    "conditional VAE": (OTHERS, ConditionalVAEConfig(SHAPE, (4,), 2)),
    "init, loss, sample": (OTHERS, None),
}


@cache
def model_of(name):
    config = SHIPPED[name][1]
    if config is None:
        return GenerativeModel(init=None, loss=None, sample=None)
    return (
        conditional_vae(config) if isinstance(config, ConditionalVAEConfig) else generator(config)
    )


@cache
def claimed(name):
    return ROW.search((PAGES / f"{name}.md").read_text())[1].split(", ")


@pytest.mark.parametrize("shipped", SHIPPED)
@pytest.mark.parametrize("name", METHODS)
def test_method_takes_the_models_that_its_page_names_and_refuses_the_others(name, shipped):
    kind, model = SHIPPED[shipped][0], model_of(shipped)
    assert can_work_on(METHODS[name], model) == (kind in claimed(name))
    if kind in claimed(name):
        check_method(METHODS[name](), model)
        return
    with pytest.raises(ValueError, match=f"{name} needs a model with .*Methods that can work on"):
        check_method(METHODS[name](), model)


@pytest.mark.parametrize("name", METHODS)
def test_page_names_no_other_kind_of_model(name):
    assert [kind for kind in (VAES, DIFFUSION, OTHERS) if kind in claimed(name)] == claimed(name)


def test_table_of_methods_has_loss_alone_where_the_page_names_any_model():
    table = dict(NEEDS.findall((PAGES / "index.md").read_text()))
    alone = {name for name, needs in table.items() if needs.strip() in ("", "loss")}
    assert table.keys() == METHODS.keys()
    assert alone == {name for name in METHODS if OTHERS in claimed(name)}


def labeled(n, offset=0.0):
    """Examples of a conditional model."""
    return {"image": images(n, n, offset), "label": np.arange(n, dtype=np.int32) % 2}


# `test_contract` and the studies run the steps; these are traced alone.
STEPS = {
    DIFFUSION: (lambda: linear_diffusion.MODEL, lambda: (images(2, 11, 0.4), images(3, 21))),
    OTHERS: (
        lambda: conditional_vae(ConditionalVAEConfig((2, 2, 1), (4,), 2, classes=2)),
        lambda: (labeled(11, 0.4), labeled(21)),
    ),
}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in METHODS for kind in STEPS if kind in claimed(name)]
)
def test_method_takes_its_steps_on_a_model_that_its_page_names(name, kind):
    method, (model, sets) = METHODS[name](), (make() for make in STEPS[kind])
    params = model.init(KEY)
    result, history = jax.eval_shape(
        lambda params, sets: two_steps(method, model, params, sets, KEY),
        params,
        concatenate(*sets),
    )
    assert jax.tree.map(jnp.shape, result) == jax.tree.map(jnp.shape, params)
    assert bool(history) == (method.visits != "nothing")
