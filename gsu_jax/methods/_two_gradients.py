"""Base of the methods that combine a forget gradient with a retain gradient."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import optax

from gsu_jax.checks import is_traced
from gsu_jax.data import Examples, number_of
from gsu_jax.methods._gradient_ascent import GradientAscent
from gsu_jax.methods._method import Batch, StepGradients
from gsu_jax.methods.ingredients import (
    Window,
    negative,
    over_masked,
    training_loss,
    window_loss,
)
from gsu_jax.models import GenerativeModel, Loss, Params
from gsu_jax.surgery import (
    ForgetRetainGrads,
    add_retain_gradient,
    forget_retain_grads,
    measure_conflict,
)


@dataclass(frozen=True)
class TwoGradients(GradientAscent):
    """Computes a = -grad l_f and r = grad l_r; a subclass says how they make one update.

    Attributes:
        learning_rate, loss, through: as in `GradientAscent`; l_r is of the same kind as l_f.
        batch_size, retain_batch_size, label: as in `Method`.
        retain_gradients: 1, or k: the retain batch is cut into k parts, a gradient each.
    """

    # Fields of some methods.
    retain_gradients: ClassVar[int] = 1
    window: ClassVar[Window | None] = None

    def gradients(self, model, prepared, params, batch, key) -> StepGradients:
        """Returns the forget gradient and the retain gradient."""
        loss = training_loss(model, self.loss, self.through)
        grads = ascent_and_retain_grads(model, loss, params, batch, key, self.window)
        k = self.retain_gradients
        if k > 1:
            grads = grads._replace(retain=gradients_of_parts(loss, params, batch.retain, key, k))
        return StepGradients.of(grads.forget, grads)

    def combine(self) -> optax.GradientTransformation:
        """The transform of a, given r, that stands before the optimizer."""
        raise NotImplementedError

    def transform(self, optimizer, params, steps) -> optax.GradientTransformationExtraArgs:
        """Combines both gradients, then applies the optimizer."""
        return optax.chain(self.combine(), optimizer, measure_conflict())


def ascent_and_retain_grads(
    model: GenerativeModel,
    loss: Loss,
    params: Params,
    batch: Batch,
    key: jax.Array,
    window: Window | None = None,
) -> ForgetRetainGrads:
    """-grad l_f on the visited images and grad l_r, with the values of l_f and l_r.

    With a window, l_f is `window_loss`.
    """
    raised = over_masked(loss, model) if window is None else window_loss(model, window)
    forget_loss = negative(raised)
    grads = forget_retain_grads(
        loss, params, batch.visited, batch.retain, key, forget_loss=forget_loss
    )
    return grads._replace(forget_loss=-grads.forget_loss)


def gradients_of_parts(
    loss: Loss, params: Params, images: Examples, key: jax.Array, k: int
) -> Params:
    """The gradients of `loss` on k equal parts of `images`: leaves get a leading axis k."""
    n = number_of(images)
    if n % k:
        raise ValueError(
            f"retain_gradients must divide the retain batch of {n} images, got {k}; "
            f"choose retain_batch_size a multiple of {k}"
        )
    parts = jax.tree.map(lambda x: x.reshape(k, n // k, *x.shape[1:]), images)
    keys = jax.random.split(key, k)
    return jax.vmap(lambda part, key: jax.grad(loss)(params, part, key))(parts, keys)


def weighted_retain(weight: float | jax.Array) -> optax.GradientTransformation:
    """Adds `weight` times the retain gradient; nothing for a weight of 0."""
    return add_retain_gradient(weight) if is_traced(weight) or weight else optax.identity()


def check_weight_acts(retain_weight: float, when: str) -> None:
    """Raises ValueError if a projection of the steps would take the retain gradient out again."""
    if retain_weight and when == "always":
        raise ValueError(
            f"retain_weight must be 0 if steps are projected always, got {retain_weight}; choose "
            "when='conflict'"
        )
