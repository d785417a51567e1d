"""Metrics of the user's own, as columns beside those of the judge."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gsu_jax.metrics import METRICS, RESIDUAL_METRICS, SECOND_METRICS
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
        if name in (*METRICS, *SECOND_METRICS, *RESIDUAL_METRICS, *ROW_KEYS):
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
    """Returns the value of each metric for one model: a finite number, or None.

    Raises:
        RuntimeError: A metric failed; the error names it, and its cause is what the metric raised.
        TypeError: A metric returned something else than one number, or None.
    """
    return {name: _value(name, metric, model, params, seed) for name, metric in metrics.items()}


def _value(
    name: str, metric: Metric, model: GenerativeModel, params: Any, seed: int
) -> float | None:
    try:
        value = metric(model, params, named_key(f"metric {name}", seed))
    except Exception as error:
        raise RuntimeError(
            f"metrics[{name!r}] failed for seed {seed}: {type(error).__name__}: {error}. Mend it; "
            "the same call again resumes the study from here"
        ) from error
    if value is None:
        return None
    got = type(value).__name__
    try:
        array = np.asarray(value)
    except Exception as error:
        raise TypeError(f"metrics[{name!r}] must return one number, got a {got}") from error
    if array.shape != () or array.dtype.kind not in "biufV":  # V: bfloat16
        shape = f" of shape {array.shape}; return its mean" if array.shape else ""
        raise TypeError(f"metrics[{name!r}] must return one number, got a {got}{shape}")
    number = float(array)
    return number if math.isfinite(number) else None
