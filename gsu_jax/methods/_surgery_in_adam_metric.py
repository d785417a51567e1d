"""Surgery on the steps of Adam, in the metric in which Adam moves."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import optax

from gsu_jax.checks import choice, whole
from gsu_jax.methods._two_gradients import TwoGradients, check_weight_acts, weighted_retain
from gsu_jax.surgery import measure_conflict
from gsu_jax.surgery.rules import projected_adam


@dataclass(frozen=True)
class SurgeryInAdamMetric(TwoGradients):
    """Projects Adam's step s off the retain gradient by the norm in which Adam moves.

        s - (r.s / r.P^-1 r) P^-1 r,    s = P^-1 m,  P = sqrt(nu) + eps

    m and nu are Adam's moments of a = -grad l_f, and r = grad l_r. The applied step leaves l_r as
    it is, to first order, and is the nearest such step to Adam's by the norm sqrt(x.P x).

    Attributes:
        learning_rate, loss, through: as in `GradientAscent`; l_r is of the same kind as l_f.
        batch_size, retain_batch_size, label: as in `Method`.
        when, retain_gradients, retain_weight: as in `GradientSurgery`.

    Raises:
        ValueError: `when` is none of its choices, or `retain_gradients` is below 1.

    Example:
        >>> SurgeryInAdamMetric(when="conflict", retain_weight=3.0).retain_gradients
        1
    """

    name: ClassVar[str] = "surgery_in_adam_metric"

    when: Literal["always", "conflict"] = "always"
    retain_gradients: int = 1
    retain_weight: float = 0.0

    def __post_init__(self) -> None:
        choice(("always", "conflict"), when=self.when)
        whole(1, retain_gradients=self.retain_gradients)

    def check(self, model) -> None:
        """Checks that the model has what the loss needs, and that `retain_weight` has an effect."""
        super().check(model)
        check_weight_acts(self.retain_weight, self.when)

    def optimizer(self, steps) -> optax.GradientTransformation:
        """The Adam that projects its own steps."""
        return projected_adam(self.learning_rate, when=self.when)

    def transform(self, optimizer, params, steps) -> optax.GradientTransformationExtraArgs:
        """The weighted retain gradient, then an optimizer that projects its own steps.

        Raises:
            ValueError: `optimizer` is no `projected_adam`.
        """
        state = jax.eval_shape(optimizer.init, params)
        if not optax.tree.get_all_with_path(state, "projected"):
            raise ValueError(
                f"optimizer must project its own steps for {self.name}, got another one; give "
                "projected_adam(...), or no optimizer"
            )
        return optax.chain(weighted_retain(self.retain_weight), optimizer, measure_conflict())
