"""Whether a model and the test data of its evaluation speak of the same examples."""

import logging
import weakref
from functools import partial
from typing import Any

import jax
import numpy as np

from gsu_jax.metrics._likelihood import has_elbo, negative_elbo_of_batch
from gsu_jax.metrics._reference import Reference
from gsu_jax.models import GenerativeModel

MARGIN = 0.5  # outside [0, 1]: the mean of an unbounded p(x|z) may lie a little outside
log = logging.getLogger(__name__)
_warned: weakref.WeakSet[GenerativeModel] = weakref.WeakSet()


def check_model(model: GenerativeModel, params: Any, reference: Reference) -> None:
    """Raises ValueError unless the model draws images like the test images and takes the examples.

    Nothing is computed: the model's functions are traced, once for parameters of one shape.
    """
    key = jax.eval_shape(jax.random.key, 0)
    drawn = _two_samples.eval_shape(model, params, key)
    shape = getattr(drawn, "shape", None)
    if shape != (2, *reference.image_shape):
        got = list(shape) if shape else f"a {type(drawn).__name__}"
        raise ValueError(
            f"model.sample(params, key, 2) must give images like the test images, "
            f"{[2, *reference.image_shape]}, got {got}"
        )
    if not has_elbo(model):
        return
    some = jax.tree.map(lambda x: x[:2], reference.examples)
    try:
        negative_elbo_of_batch.eval_shape(model, params, some, 0, key)
    except Exception as error:
        raise ValueError(
            f"the model cannot take the test examples, of shapes {jax.tree.map(np.shape, some)}: "
            f"{error}. Give make_reference what it takes: make_reference(..., examples=...)"
        ) from error


@partial(jax.jit, static_argnames="model")
def _two_samples(model, params, key):
    return model.sample(params, key, 2)


def warn_of_range(model: GenerativeModel, least: float, largest: float) -> None:
    """Logs a warning, once for each model, about samples that are far outside [0, 1]."""
    if (least < -MARGIN or largest > 1 + MARGIN) and model not in _warned:
        _warned.add(model)
        log.warning(
            "the model draws values from %.3g to %.3g, but images are in [0, 1]; the judge has "
            "seen no others, so its figures mean little here. Let model.sample end in [0, 1]",
            least, largest,
        )  # fmt: skip
