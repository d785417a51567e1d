"""What `unlearn` returns, and when it stops early."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from gsu_jax.checks import at_least
from gsu_jax.models import Params

History = dict[str, np.ndarray]
# callback(steps done, history since the last call, parameters); the run ends if it returns True.
Callback = Callable[[int, History, Params], bool | None]


@dataclass(frozen=True)
class StopRule:
    """Stops a run once a metric is at most `at_most` in several checks in a row.

    Attributes:
        metric: `metric(params, key) -> scalar`, traced by `jax.jit`. An example is the share of
            samples that a guide assigns to the forgotten class.
        at_most: The value to reach.
        every: The steps from one check to the next. Each epoch counts anew and ends with a check.
        times: The number of checks in a row.

    Example:
        >>> StopRule(lambda params, key: abs(params["bias"]).max(), at_most=0.1, every=5).times
        3
    """

    metric: Callable[[Params, jax.Array], jax.Array]
    at_most: float
    every: int = 10
    times: int = 3

    def __post_init__(self) -> None:
        at_least(1, every=self.every, times=self.times)


@dataclass(frozen=True)
class UnlearningResult:
    """The result of `unlearn` or `sweep`.

    Attributes:
        params: The unlearned parameters.
        history: One value for each step. Losses are named by the method ("forget_loss",
            "retain_loss"). Surgery adds "cosine", of the retain gradient with the incoming update,
            and `gradient_surgery` also "applied_cosine", with the applied step. A stop rule adds
            "stop_metric", NaN at steps without a check.
        seconds: The run with the device synchronized. It includes what the method prepares and the
            transfer of the images, and excludes compilation.
        compile_seconds: The compilation; 0 for a later request like the first, see `unlearn`.
        steps: The number of steps taken.
        stopped: Whether the stop rule or the callback ended the run.
    """

    params: Params
    history: History
    seconds: float
    compile_seconds: float
    steps: int
    stopped: bool

    def __repr__(self) -> str:
        """Summarizes the run: its parameters are too many to print."""
        ends = [
            f", {name} {values[0]:.4g} -> {values[-1]:.4g}"
            for name, values in self.history.items()
            if name.endswith("_loss") and values.ndim == 1 and values.size  # `sweep` has two axes
        ]
        steps, compiling = (
            f"{seconds:.2g}" if seconds < 99.5 else f"{seconds:,.0f}"
            for seconds in (self.seconds, self.compile_seconds)
        )
        seconds = f"{steps} s + {compiling} s compiling"
        return f"{type(self).__name__}({self.steps} steps, {seconds}{''.join(ends)})"
