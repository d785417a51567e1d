"""NAME: one line that says what the method does.

Copy to `gsu_jax/methods/_NAME.py`. There, import `Method` and `StepGradients` from
`gsu_jax.methods._method`: a file does not import its own package.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax

from gsu_jax.checks import at_least
from gsu_jax.methods import Method, StepGradients
from gsu_jax.methods.ingredients import negative, over_masked
from gsu_jax.surgery import forget_retain_grads


@dataclass(frozen=True)
class Skeleton(Method):
    """Says in one line what is minimized: a + weight * r.

        a = -grad l_f,  r = grad l_r

    What differs: where the publication does otherwise, and why.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.
        weight: what it trades.

    Raises:
        ValueError: `weight` is below 0.

    Example:
        >>> Skeleton(weight=2.0, label="skeleton-2").title
        'skeleton-2'

    References:
        Authors, `Title <https://arxiv.org/abs/0000.00000>`_, year.
    """

    name: ClassVar[str] = "skeleton"
    needs: ClassVar[tuple[str, ...]] = ()  # optional functions of the model, such as "encode"

    weight: float = 1.0

    def __post_init__(self) -> None:
        at_least(0, weight=self.weight)

    def gradients(self, model, prepared, params, batch, key) -> StepGradients:
        """Returns a + weight * r."""
        forget_loss = negative(over_masked(model.loss))  # means over the images that count
        grads = forget_retain_grads(
            model.loss, params, batch.visited, batch.retain, key, forget_loss=forget_loss
        )
        updates = jax.tree.map(lambda a, r: a + self.weight * r, grads.forget, grads.retain)
        return StepGradients.of(updates, grads)
