"""The page of every method says on which models it runs, and it does."""

import re
from dataclasses import replace
from pathlib import Path

import gaussian_vae
import jax
import jax.numpy as jnp
import linear_diffusion
import pytest
from linear_autoencoder import images
from method_steps import KEY, two_steps

from gsu_jax import METHODS
from gsu_jax.data import concatenate
from gsu_jax.methods import check_method

PAGES = Path(__file__).parents[2] / "docs" / "methods"
ROW = re.compile(r"^\| models \| (.*?) \|$", re.M)


MODELS = {
    "VAEs": replace(gaussian_vae.MODEL, denoise=None),
    "diffusion": linear_diffusion.MODEL,
}
SETS = concatenate(images(2, 11, offset=0.4), images(3, 21))


def claimed(name):
    return ROW.search((PAGES / f"{name}.md").read_text())[1].split(", ")


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", METHODS)
def test_method_takes_the_models_that_its_page_names_and_refuses_the_others(name, kind):
    assert {*claimed(name)} <= {*MODELS}
    if kind in claimed(name):
        check_method(METHODS[name](), MODELS[kind])
        return
    with pytest.raises(ValueError, match=f"{name} needs a model with .*Methods that can work on"):
        check_method(METHODS[name](), MODELS[kind])


@pytest.mark.parametrize("name", [name for name in METHODS if "diffusion" in claimed(name)])
def test_method_takes_its_steps_on_a_diffusion_model(name):
    """Traced, not run: `test_contract` and the studies run them."""
    method, model = METHODS[name](), MODELS["diffusion"]
    params = model.init(KEY)
    result, history = jax.eval_shape(
        lambda params, sets: two_steps(method, model, params, sets, KEY), params, SETS
    )
    assert jax.tree.map(jnp.shape, result) == jax.tree.map(jnp.shape, params)
    assert bool(history) == (method.visits != "nothing")
