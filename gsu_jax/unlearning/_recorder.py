"""The history of one run, and its stop rule."""

from collections.abc import Callable

import jax
import numpy as np

from gsu_jax.models import Params
from gsu_jax.runtime import Compiled, ProgramCache, Stopwatch
from gsu_jax.unlearning._result import History, StopRule, UnlearningResult


class Recorder:
    """Collects the history of a run, and tells when its stop rule holds.

    Attributes:
        steps: The number of steps recorded.
        stopped: Whether the stop rule holds.
    """

    def __init__(
        self,
        stop: StopRule | None,
        callback: Callable[[int, History], None] | None,
        key: jax.Array,
        stopwatch: Stopwatch,
    ) -> None:
        self._stop, self._callback, self._key, self._stopwatch = stop, callback, key, stopwatch
        self._parts: list[History] = []
        self._checks_in_a_row = 0
        self.steps, self.stopped = 0, False

    def record(self, params: Params, history: dict[str, jax.Array], first: int, last: int) -> None:
        """Adds rows `first` to `last - 1` of `history`, after which the parameters are `params`."""
        rows = {name: np.asarray(values)[first:last] for name, values in history.items()}
        self.steps += last - first
        if self._stop is not None:
            rows["stop_metric"] = np.full(last - first, np.nan)
            rows["stop_metric"][-1] = self._check(self._stop, params)
        self._parts.append(rows)
        if self._callback is not None:
            self._callback(self.steps, rows)

    def result(self, params: Params) -> UnlearningResult:
        """Returns the result of the run, given its parameters."""
        names = self._parts[0] if self._parts else ()
        return UnlearningResult(
            params,
            {name: np.concatenate([rows[name] for rows in self._parts]) for name in names},
            self._stopwatch.seconds,
            self._stopwatch.compile_seconds,
            self.steps,
            self.stopped,
        )

    def _check(self, stop: StopRule, params: Params) -> float:
        metric = ProgramCache.default.get((StopRule, stop.metric), lambda: Compiled(stop.metric))
        key = jax.random.fold_in(self._key, self.steps)
        value = float(self._stopwatch.run(metric, params, key))
        self._checks_in_a_row = self._checks_in_a_row + 1 if value <= stop.at_most else 0
        self.stopped = self._checks_in_a_row >= stop.times
        return value
