"""MUNBa: forgetting and retaining bargain for the direction of each step."""

from dataclasses import dataclass
from typing import ClassVar

import optax

from gsu_jax.methods._two_gradients import TwoGradients
from gsu_jax.surgery.rules import nash


@dataclass(frozen=True)
class MUNBa(TwoGradients):
    """Takes the Nash solution of a bargain between both gradients: their bisector.

        d = (e_a + e_r) / sqrt(1 + cos(a, r)),    e_a = a / |a|, e_r = r / |r|

    a = -grad l_f, r = grad l_r. `gsu_jax.surgery.rules.nash` has the derivation.

    What differs: the authors descend a bounded forget loss, such as random labels for a classifier.
    Here a ascends l_f, which has no bound. The bisector gives both gradients the same weight from
    the first step to the last, so a long run destroys the model.

    Attributes:
        learning_rate, loss, through: as in `GradientAscent`; l_r is of the same kind as l_f.
        batch_size, retain_batch_size, label: as in `Method`.

    Example:
        >>> MUNBa(through="decoder", label="munba-decoder").title
        'munba-decoder'

    References:
        Wu & Harandi, `MUNBa: Machine Unlearning via Nash Bargaining
        <https://arxiv.org/abs/2411.15537>`_, 2025.
    """

    name: ClassVar[str] = "munba"

    def combine(self) -> optax.GradientTransformation:
        """`gsu_jax.surgery.rules.nash`."""
        return nash()
