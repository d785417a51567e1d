"""Surgery that treats some layers apart, by their conflict before the run (Recon)."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from gsu_jax.surgery import Conflict, LayerConflictsState, measure, project_conflicting

Variant = Literal["private", "remove", "salient"]
Layers = dict[str, jax.Array]


def choose_layers(variant: Variant, state: LayerConflictsState, k: int, threshold: float) -> Layers:
    """Whether each layer is one of the k that `variant` treats apart; a traced boolean each.

    "private" and "remove" take the layers with the highest scores. "salient" takes the largest mean
    update norm among the layers whose mean cosine is at least `threshold`; if there are fewer than
    k, the others follow by their mean cosine, and layers without an update come last.
    """
    labels = sorted(state.scores)

    def stacked(values: dict[str, jax.Array]) -> jax.Array:
        return jnp.stack([values[label] for label in labels])

    if variant == "salient":
        norm, cosine = stacked(state.mean_update_norm), stacked(state.mean_cosine)
        agrees = cosine >= threshold
        # The last key is the first to sort by.
        order = jnp.lexsort((-jnp.where(agrees, norm, cosine), ~agrees, norm == 0))
    else:
        order = jnp.argsort(-stacked(state.scores), stable=True)
    rank = jnp.argsort(order)
    return dict(zip(labels, rank < k, strict=True))


def project_measured(
    labels: Any, variant: Variant, when: str, incoming: str
) -> optax.GradientTransformationExtraArgs:
    """Surgery on the layers of a tree of labels, given at each update which of them are apart.

    `layers`, an extra argument of `update`, is what `choose_layers` returns. "private" projects
    each of these layers on its own and all others together. "remove" sets the update of these
    layers to zero and projects the others together; "salient" the other way around.
    """
    each = project_conflicting(when=when, scope=labels, incoming=incoming)
    together = project_conflicting(when=when, incoming=incoming)

    def update(updates, state, params=None, *, retain_grads, layers: Layers, **extra_args):
        del params, extra_args

        def part(projection, chosen: bool):
            def only(label: str, x: jax.Array) -> jax.Array:
                return jnp.where(layers[label] == chosen, x, jnp.zeros_like(x))

            u, r = (jax.tree.map(only, labels, tree) for tree in (updates, retain_grads))
            return projection.update(u, state, retain_grads=r)

        result, conflict = part(together, variant == "salient")
        projected = conflict.projected
        if variant == "private":
            alone, conflict = part(each, True)
            result = jax.tree.map(jnp.add, result, alone)  # one of the two is zero
            projected |= conflict.projected
        whole = [x.astype(jnp.float32) for x in measure(updates, retain_grads)[:3]]
        return result, Conflict(*whole, projected)

    return optax.GradientTransformationExtraArgs(together.init, update)
