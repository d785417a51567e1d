"""GRU: surgery on conflict with a running mean of the retain gradients."""

from dataclasses import dataclass
from typing import ClassVar

import optax

from gsu_jax.checks import in_range
from gsu_jax.methods._two_gradients import TwoGradients, weighted_retain
from gsu_jax.surgery.rules import gru


@dataclass(frozen=True)
class GRU(TwoGradients):
    """Projects a off m, a running mean of the retain gradients, if the two conflict.

        m <- beta m + (1 - beta) r,    a <- a - (a.m / m.m) m  if a.m < 0

    a = -grad l_f, r = grad l_r. The mean is corrected for its start at zero, as Adam's are.

    What differs: the authors work on language models; here it is the running mean alone.

    Attributes:
        learning_rate, loss, through: as in `GradientAscent`; l_r is of the same kind as l_f.
        batch_size, retain_batch_size, label: as in `Method`.
        decay: beta, in [0, 1); 0 is `GradientSurgery(when="conflict")`.
        retain_weight: as in `GradientSurgery`.

    Raises:
        ValueError: `decay` is not in [0, 1).

    Example:
        >>> GRU(decay=0.5).retain_weight
        0.0

    References:
        Wang et al., `GRU: Mitigating the Trade-off between Unlearning and Retention for LLMs
        <https://arxiv.org/abs/2503.09117>`_, 2025.
    """

    name: ClassVar[str] = "gru"

    decay: float = 0.9
    retain_weight: float = 0.0

    def __post_init__(self) -> None:
        in_range(0, 1, decay=self.decay)

    def combine(self) -> optax.GradientTransformation:
        """`gsu_jax.surgery.rules.gru`, then the weighted retain gradient."""
        return optax.chain(gru(self.decay), weighted_retain(self.retain_weight))
