"""Metrics of the user's own, as columns beside those of the judge."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gsu_jax.metrics import METRICS
from gsu_jax.models import GenerativeModel
from gsu_jax.runtime import on_first_process
from gsu_jax.study._checkpointed_runs import named_key

Metric = Callable[[GenerativeModel, Any, jax.Array], Any]
# What a row holds beside its metrics.
ROW_KEYS = ("nelbo_gap", "method", "seed", "diverged", "steps", "seconds", "compile_seconds")


def check_metrics(metrics: Mapping[str, Metric]) -> None:
    """Raises an error unless `metrics` maps new names to functions."""
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics must be {{name: function}}, got {type(metrics).__name__}")
    for name, metric in metrics.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"metrics must have names of type str, got {name!r}")
        if name in (*METRICS, *ROW_KEYS):
            raise ValueError(f"metrics must have names of their own, got {name!r}; rename it")
        if not callable(metric):
            raise TypeError(
                f"metrics[{name!r}] must be a function f(model, params, key), got "
                f"{type(metric).__name__}"
            )


@on_first_process
def measure(
    metrics: Mapping[str, Metric], model: GenerativeModel, params: Any, seed: int
) -> dict[str, float | None]:
    """Returns the value of each metric for one model: a finite number, or None."""
    return {
        name: _number(name, metric(model, params, named_key(f"metric {name}", seed)))
        for name, metric in metrics.items()
    }


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "biufV":  # V: bfloat16
        raise TypeError(f"metrics[{name!r}] must return one number, got {value!r}")
    number = float(array)
    return number if math.isfinite(number) else None
