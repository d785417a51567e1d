"""UNO: the forget gradient and the retain gradient are made orthogonal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.checks import at_least
from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods.ingredients import over_masked
from gsu_jax.models import GenerativeModel, Loss, Params
from gsu_jax.surgery import measure, project


@dataclass(frozen=True)
class UNO(Method):
    """Minimizes l_r + gamma C, with C = cos^2(g_f, g_r), g_f = grad l_f and g_r = grad l_r.

    With H_f, H_r the Hessians of l_f and l_r, c = cos(g_f, g_r), and e_f, e_r the gradients
    normalized,

        grad C = H_f u + H_r w,   u = 2 c (e_r - c e_f) / |g_f|,   w = 2 c (e_f - c e_r) / |g_r|

    Each Hessian-vector product uses the noise of its gradient. w is the projected gradient of
    surgery up to its length, so UNO is surgery seen through curvature. If g_f or g_r is zero, C is
    0 and has no gradient.

    What differs: the authors draw batches from both sets until a stop rule holds. Here a run is one
    epoch over the forget set. Rate, batch size and gamma are the published ones for VAEs.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.
        weight: gamma.

    Raises:
        ValueError: `weight` is below 0.

    Example:
        >>> UNO(weight=300.0, label="uno-300").title
        'uno-300'

    References:
        Mandal & Gottwald, `UNO: Unlearning via Orthogonalization in Generative Models
        <https://arxiv.org/abs/2506.04712>`_, 2025.
    """

    name: ClassVar[str] = "uno"

    learning_rate: float = 1e-3
    weight: float = 1e3

    def __post_init__(self) -> None:
        at_least(0, weight=self.weight)

    def gradients(self, model, prepared, params, batch, key) -> StepGradients:
        """Returns the gradient of l_r + gamma C."""
        forget, retain = both_sides(model, params, batch, key)
        return step_gradients(uno_gradient(forget, retain, self.weight), forget, retain)


@dataclass(frozen=True)
class UNOS(UNO):
    """Alternates UNO with the rule S: g_r - (g_r.g_f / |g_f|^2) g_f.

    The first step is one of UNO, the second one of S, and so on. S trains on the retained images
    along what leaves the forget loss as it is, and needs no Hessian.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.
        weight: as in `UNO`.

    Raises:
        ValueError: `weight` is below 0.

    Example:
        >>> UNOS().weight == UNO().weight
        True

    References:
        Mandal & Gottwald, `UNO: Unlearning via Orthogonalization in Generative Models
        <https://arxiv.org/abs/2506.04712>`_, 2025.
    """

    name: ClassVar[str] = "uno_s"

    def gradients(self, model, prepared, params, batch, key) -> StepGradients:
        """Returns the gradient of UNO or of S."""
        forget, retain = both_sides(model, params, batch, key)
        updates = jax.lax.cond(
            batch.number % 2 == 0,
            lambda: uno_gradient(forget, retain, self.weight),
            lambda: project(retain.grads, forget.grads),
        )
        return step_gradients(updates, forget, retain)


class Side(NamedTuple):
    """A loss on its batch: its value, its gradient g, and the product v -> H v with its Hessian."""

    loss: jax.Array
    grads: Params
    hessian: Callable[[Params], Params]


def both_sides(
    model: GenerativeModel, params: Params, batch: Batch, key: jax.Array
) -> tuple[Side, Side]:
    """l_f and l_r, each linearized once for its gradient and its Hessian-vector product."""
    forget_key, retain_key = jax.random.split(key)

    def side(loss: Loss, batch: Any, key: jax.Array) -> Side:
        def grads_and_loss(params: Params) -> tuple[Params, jax.Array]:
            value, grads = jax.value_and_grad(loss)(params, batch, key)
            return grads, value

        grads, hessian, value = jax.linearize(grads_and_loss, params, has_aux=True)
        return Side(value, grads, hessian)

    return (
        side(over_masked(model.loss, model), batch.visited, forget_key),
        side(model.loss, batch.retain, retain_key),
    )


def uno_gradient(forget: Side, retain: Side, weight: float) -> Params:
    """g_r + weight (H_f u + H_r w), u and w as in `UNO`."""
    cosine, forget_norm, retain_norm, _ = measure(forget.grads, retain.grads)

    # A zero gradient has cosine 0; a norm of 1 avoids 0/0.
    forget_norm, retain_norm = (jnp.where(n > 0, n, 1) for n in (forget_norm, retain_norm))

    def direction(own: Params, own_norm: jax.Array, other: Params, other_norm: jax.Array) -> Params:
        """2 weight cos (e_other - cos e_own) / |own|."""
        factor = 2 * weight * cosine / own_norm
        return jax.tree.map(
            lambda g, o: (factor * (o / other_norm - cosine * g / own_norm)).astype(g.dtype),
            own, other,
        )  # fmt: skip

    u = direction(forget.grads, forget_norm, retain.grads, retain_norm)
    w = direction(retain.grads, retain_norm, forget.grads, forget_norm)
    of_cosine = jax.tree.map(jnp.add, forget.hessian(u), retain.hessian(w))
    return jax.tree.map(jnp.add, retain.grads, of_cosine)


def step_gradients(updates: Params, forget: Side, retain: Side) -> StepGradients:
    """The step `updates`, with both losses and C in the history."""
    metrics = {
        "forget_loss": forget.loss,
        "retain_loss": retain.loss,
        "squared_cosine": measure(forget.grads, retain.grads).cosine ** 2,
    }
    return StepGradients(updates, retain.grads, metrics)
