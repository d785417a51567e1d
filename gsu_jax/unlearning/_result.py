"""What `unlearn` returns, and when it stops early."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from gsu_jax.models import Params

History = dict[str, np.ndarray]


@dataclass(frozen=True)
class StopRule:
    """Stops a run early: when `metric <= at_most` at `times` looks in a row, `every` n steps.

    Attributes:
      metric: `metric(params, key) -> scalar`, traced by `jax.jit`, for instance the share of
        samples that a guide takes for the removed class.
      at_most: the value to reach.
      every: steps from one look to the next, counted anew in each epoch, whose end is a look too.
      times: looks in a row at which it must hold.
    """

    metric: Callable[[Params, jax.Array], jax.Array]
    at_most: float
    every: int = 10
    times: int = 3

    def __post_init__(self) -> None:
        if self.every < 1 or self.times < 1:
            raise ValueError(
                f"every and times must be at least 1, found {self.every} and {self.times}."
            )


@dataclass(frozen=True)
class UnlearningResult:
    """What `unlearn` returns.

    Attributes:
      params: the unlearned parameters.
      history: one row a step: losses of the method's choice ("forget_loss", "retain_loss"); with
        surgery "cosine" of the incoming update, with gradient_surgery also "applied_cosine" of the
        applied step, both with the retain gradient; "stop_metric" where a stop rule looked (NaN at
        other steps).
      seconds: the steady run with the device synchronised, `prepare` and the data's way to the
        device included, compilation not.
      compile_seconds: spent on compiling; 0 for a later request like the first, see `unlearn`.
      steps: how many were taken.
      stopped: whether the stop rule ended the run.
    """

    params: Params
    history: History
    seconds: float
    compile_seconds: float
    steps: int
    stopped: bool
