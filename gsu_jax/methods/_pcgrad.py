"""PCGrad: each gradient is projected off the other if they conflict, and both are added."""

from dataclasses import dataclass
from typing import ClassVar

import optax

from gsu_jax.methods._two_gradients import TwoGradients
from gsu_jax.surgery.rules import pcgrad


@dataclass(frozen=True)
class PCGrad(TwoGradients):
    """Adds both gradients, each without what conflicts with the other.

        a + r if a.r >= 0, else (a - (a.r / r.r) r) + (r - (r.a / a.a) a)

    a = -grad l_f, r = grad l_r. The update descends l_r too.

    Attributes:
        learning_rate, loss, through: as in `GradientAscent`; l_r is of the same kind as l_f.
        batch_size, retain_batch_size, label: as in `Method`.

    Example:
        >>> PCGrad(through="decoder").title
        'pcgrad'

    References:
        Yu et al., `Gradient Surgery for Multi-Task Learning <https://arxiv.org/abs/2001.06782>`_,
        2020.
    """

    name: ClassVar[str] = "pcgrad"

    def combine(self) -> optax.GradientTransformation:
        """`gsu_jax.surgery.rules.pcgrad`."""
        return pcgrad()
