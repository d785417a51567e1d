"""The history of one run, its callback and its stop rule."""

import jax
import numpy as np

from gsu_jax.checks import at_least, integer
from gsu_jax.models import Params
from gsu_jax.runtime import Compiled, ProgramCache, Stopwatch
from gsu_jax.unlearning._result import Callback, History, StopRule, UnlearningResult


class Recorder:
    """Collects the history of a run, calls its callback, and tells when it ends early.

    Attributes:
        steps: The number of steps recorded.
        stopped: Whether the stop rule holds, or the callback returned True.
    """

    def __init__(
        self,
        stop: StopRule | None,
        callback: Callback | None,
        callback_every: int | None,
        key: jax.Array,
        stopwatch: Stopwatch,
    ) -> None:
        if callback_every is not None:
            integer(callback_every=callback_every)
            at_least(1, callback_every=callback_every)
            if callback is None:
                raise ValueError(
                    f"callback_every={callback_every} calls nothing: give a callback too"
                )
        self._stop, self._callback, self._key, self._stopwatch = stop, callback, key, stopwatch
        self._callback_every = callback_every
        self._parts: list[History] = []
        self._reported, self._checks_in_a_row = 0, 0
        self._epoch_steps = 0
        self.steps, self.stopped = 0, False

    def ends(self, steps: int) -> list[int]:
        """Returns after which steps of an epoch of `steps` steps there is something to do."""
        self._epoch_steps = steps
        every = [self._stop.every if self._stop else None, self._callback_every]
        inner = {end for n in every if n for end in range(n, steps, n)}
        return sorted(inner | {steps})

    def record(self, params: Params, history: dict[str, jax.Array], first: int, last: int) -> None:
        """Adds rows `first` to `last - 1` of `history`, after which the parameters are `params`."""
        rows = {name: np.asarray(values)[first:last] for name, values in history.items()}
        self.steps += last - first
        checked = self._stop is not None and self._is_due(self._stop.every, last)
        if self._stop is not None:
            rows["stop_metric"] = np.full(last - first, np.nan)
            if checked:
                rows["stop_metric"][-1] = self._check(self._stop, params)
        self._parts.append(rows)
        due = checked or self._is_due(self._callback_every, last)
        if self._callback is not None and due:
            since = _joined(self._parts[self._reported :])
            self._reported = len(self._parts)
            answer = self._callback(self.steps, since, params)
            if answer is not None and bool(answer):
                self.stopped = True

    def _is_due(self, every: int | None, last: int) -> bool:
        return last == self._epoch_steps or (every is not None and last % every == 0)

    def result(self, params: Params) -> UnlearningResult:
        """Returns the result of the run, given its parameters."""
        return UnlearningResult(
            params,
            _joined(self._parts),
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


def _joined(parts: list[History]) -> History:
    names = parts[0] if parts else ()
    return {name: np.concatenate([rows[name] for rows in parts]) for name in names}
