"""The clock, the history and the stop rule of one run."""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from gsu_jax.models import Params
from gsu_jax.runtime import Compiled, jitted, timed
from gsu_jax.unlearning._result import History, UnlearningResult


class Run:
    """The clock, the history and the stop rule of one run."""

    def __init__(self, stop, callback, key, seconds) -> None:
        self.stop, self.callback, self.key = stop, callback, key
        self.seconds, self.compile_seconds = seconds, 0.0
        self.rows: list[History] = []
        self.steps, self.held, self.stopped = 0, 0, False

    def timed(self, compiled: Compiled, *arguments: Any) -> Any:
        result, seconds, compile_seconds = timed(compiled, *arguments)
        self.seconds += seconds
        self.compile_seconds += compile_seconds
        return result

    def clocked(self, function: Callable, *arguments: Any) -> Any:
        start = time.perf_counter()
        result = jax.block_until_ready(function(*arguments))
        self.seconds += time.perf_counter() - start
        return result

    def advance(
        self, steps: Compiled, carry: Any, xs: Any, shared: Any, first: int, last: int
    ) -> Any:
        carry, rows = self.timed(steps, carry, xs, shared, first, last)
        rows = {name: np.asarray(values) for name, values in rows.items()}
        self.steps += last - first
        if self.stop is not None:
            rows["stop_metric"] = np.full(last - first, np.nan)
            rows["stop_metric"][-1] = self.look(carry[0])
        self.rows.append(rows)
        if self.callback is not None:
            self.callback(self.steps, rows)
        return carry

    def look(self, params: Params) -> float:
        key = jax.random.fold_in(self.key, self.steps)
        value = float(self.timed(_metric(self.stop.metric), params, key))
        self.held = self.held + 1 if value <= self.stop.at_most else 0
        self.stopped = self.held >= self.stop.times
        return value

    def result(self, params: Params) -> UnlearningResult:
        names = self.rows[0] if self.rows else ()
        history = {name: np.concatenate([rows[name] for rows in self.rows]) for name in names}
        return UnlearningResult(
            params, history, self.seconds, self.compile_seconds, self.steps, self.stopped
        )


@lru_cache
def _metric(metric: Callable) -> Compiled:
    return jitted(metric)
