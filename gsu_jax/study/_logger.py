"""`Logger`: where a study sends its steps and rows beside its own files."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gsu_jax.runtime import on_first_process
from gsu_jax.storage import Artifacts

log = logging.getLogger(__name__)


@runtime_checkable
class Logger(Protocol):
    """A tracker of experiments, such as TensorBoard or Weights & Biases.

    A study calls it on process 0, for the rows that it finishes itself: after each row is saved,
    first `log_step` for each step of unlearning, then `log_row`. An exception is logged. One in
    `log_step` costs the other steps of the row.

    Example:
        >>> class Printer:
        ...     def log_step(self, method, seed, step, metrics):
        ...         print(method, seed, step, metrics)
        ...
        ...     def log_row(self, row):
        ...         print(row["method"], row["seed"], row["fratio"])
        >>> isinstance(Printer(), Logger)
        True
    """

    def log_step(self, method: str, seed: int, step: int, metrics: Mapping[str, float]) -> None:
        """Logs one step of unlearning.

        Args:
            method: The label of the row.
            seed: The seed.
            step: 1 for the first step.
            metrics: The metrics of the step, such as "forget_loss".
        """

    def log_row(self, row: Mapping[str, Any]) -> None:
        """Logs one row of `results.json`."""


def check_loggers(loggers: Sequence[Logger]) -> None:
    """Raises TypeError for a logger without one of the two functions."""
    for logger in loggers:
        if not isinstance(logger, Logger):
            raise TypeError(
                f"loggers must have log_step and log_row, got a {type(logger).__name__}; see "
                "gsu_jax.study.Logger"
            )


@on_first_process
def send(
    loggers: Sequence[Logger],
    store: Artifacts,
    row: Mapping[str, Any],
    history: Mapping[str, np.ndarray],
) -> None:
    """Gives each logger the steps and the row of one model, whatever a logger raises."""
    for logger in loggers:
        try:
            _send_steps(logger, row, history)
        except Exception as error:
            _note(logger, store, row, error)
        try:
            logger.log_row(dict(row))
        except Exception as error:
            _note(logger, store, row, error)


def _send_steps(logger: Logger, row: Mapping[str, Any], history: Mapping[str, np.ndarray]) -> None:
    for step in range(max(map(len, history.values()), default=0)):
        metrics = {name: float(values[step]) for name, values in history.items()}
        logger.log_step(row["method"], row["seed"], step + 1, metrics)


def _note(logger: Logger, store: Artifacts, row: Mapping[str, Any], error: Exception) -> None:
    reason = f"{type(error).__name__}: {error}"
    place = f"{row['method']}, seed {row['seed']}"
    log.warning("%s failed at %s: %s", type(logger).__name__, place, reason)
    store.log("logger failed", logger=type(logger).__name__, place=place, reason=reason)
