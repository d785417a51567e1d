"""CAGrad: the direction near the mean of both gradients that serves the worse of them best."""

from dataclasses import dataclass
from typing import ClassVar

import optax

from gsu_jax.checks import in_range
from gsu_jax.methods._two_gradients import TwoGradients
from gsu_jax.surgery.rules import cagrad


@dataclass(frozen=True)
class CAGrad(TwoGradients):
    """Takes the direction d near the mean of both gradients whose worse inner product is largest.

        argmax_d min(a.d, r.d)  with  |d - g| <= c |g|,    g = (a + r) / 2

    a = -grad l_f, r = grad l_r.

    Attributes:
        learning_rate, loss, through: as in `GradientAscent`; l_r is of the same kind as l_f.
        batch_size, retain_batch_size, label: as in `Method`.
        c: how far d may be from the mean g, relative to |g|; in [0, 1).

    Raises:
        ValueError: `c` is not in [0, 1).

    Example:
        >>> CAGrad(c=0.2, label="cagrad-0.2").title
        'cagrad-0.2'

    References:
        Liu et al., `Conflict-Averse Gradient Descent for Multi-task Learning
        <https://arxiv.org/abs/2110.14048>`_, 2021.
    """

    name: ClassVar[str] = "cagrad"

    c: float = 0.5

    def __post_init__(self) -> None:
        in_range(0, 1, c=self.c)

    def combine(self) -> optax.GradientTransformation:
        """`gsu_jax.surgery.rules.cagrad`."""
        return cagrad(self.c)
