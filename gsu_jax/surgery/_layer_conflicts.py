"""Counts, layer by layer, how often an update conflicts with the retain gradient."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import at_least, at_most, choice
from gsu_jax.surgery._inner_products import InnerProducts, inner_products
from gsu_jax.surgery._layer_labels import Labels, check_labels, labels_of_leaves
from gsu_jax.surgery._leaves import widened
from gsu_jax.surgery._pmean_gradients import AxisName, pmean_gradients
from gsu_jax.surgery._retain_grads import mean_retain_grads
from gsu_jax.surgery._tree_checks import Incoming, Tree

ByLabel = dict[str, jax.Array]


class LayerConflictsState(NamedTuple):
    """The conflict of each layer, over all steps so far; one scalar per label in each dict.

    With u and r the update and the retain gradient of a layer. A step in which a layer is not
    finite is not counted.

    Attributes:
        steps: The number of steps counted.
        conflicts: The number of steps with cos(u, r) below the threshold, s^(k) of Recon.
        mean_cosine: The mean of cos(u, r).
        mean_dot: The mean of <u, r>. The sum over the layers is that of the whole model.
        mean_update_norm: The mean of |u|.
        mean_retain_norm: The mean of |r|.
        last_cosine: cos(u, r) of the last step; NaN if u or r is not finite.
    """

    steps: jax.Array
    conflicts: ByLabel
    mean_cosine: ByLabel
    mean_dot: ByLabel
    mean_update_norm: ByLabel
    mean_retain_norm: ByLabel
    last_cosine: ByLabel

    @property
    def share(self) -> ByLabel:
        """The share of the steps in which each layer conflicts; 0 before the first step."""
        steps = jnp.maximum(self.steps, 1).astype(jnp.float32)
        return {label: n.astype(jnp.float32) / steps for label, n in self.conflicts.items()}

    @property
    def scores(self) -> ByLabel:
        """What ranks the layers: `conflicts`, and of equal counts the lower mean cosine first.

        conflicts + (1 - mean_cosine) / 4; the second term is at most 1/2.
        """
        return {
            label: n.astype(jnp.float32) + (1 - self.mean_cosine[label]) / 4
            for label, n in self.conflicts.items()
        }


def layer_conflicts(
    labels: Labels = "module",
    *,
    threshold: float | jax.Array = 0.0,
    incoming: Incoming = "gradients",
    axis_name: AxisName | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Counts for each layer how often the update conflicts with the retain gradient (Recon).

    The updates pass through unchanged. With u and r the update and the retain gradient of layer k,
    and S the threshold:

    .. math:: s^{(k)} = \sum_{\text{steps}} [\cos(u^{(k)}, r^{(k)}) < S]

    Recon makes the layers of largest s private to a task. An unlearned network has no copies to
    give, so here the labels of `conflict_labels` give these layers an inner product of their own.

    Args:
        labels: Which leaves form a layer: "module", "leaf", "global", a function of the path of a
            leaf, or a tree of labels; see `layer_labels`.
        threshold: S. Recon uses 0 to -0.1.
        incoming: "gradients", or "steps" after an optimizer. Steps have the opposite sign, so a
            step conflicts if its cosine is above -S.
        axis_name: Under `pmap` or `shard_map`, the axis over which both gradients are averaged
            before they are measured.

    Returns:
        A transform with the state `LayerConflictsState`. `update` takes `retain_grads`; of k
        gradients along a leading axis, the mean is measured against.

    Raises:
        ValueError: An option is unknown, or `threshold` is outside [-1, 1]. From `init`: `labels`
            does not fit the parameters. From `update`: as `project_conflicting`.
        TypeError: A label is no string. From `update`: as `project_conflicting`.

    Example:
        >>> import jax.numpy as jnp
        >>> counter = layer_conflicts("leaf")
        >>> update = {"a": jnp.array([1.0, 1.0]), "b": jnp.array([3.0, 4.0])}
        >>> retain = {"a": jnp.array([-1.0, 0.0]), "b": jnp.array([0.0, 1.0])}
        >>> _, state = counter.update(update, counter.init(update), retain_grads=retain)
        >>> {label: int(count) for label, count in state.conflicts.items()}
        {'a': 1, 'b': 0}
        >>> round(float(state.mean_cosine["b"]), 3)
        0.8

    References:
        Shi et al., `Recon: Reducing Conflicting Gradients from the Root for Multi-Task Learning
        <https://arxiv.org/abs/2302.11289>`_, 2023.
    """
    check_labels(labels)
    choice(("gradients", "steps"), incoming=incoming)
    at_least(-1, threshold=threshold)
    at_most(1, threshold=threshold)
    sign = 1 if incoming == "gradients" else -1

    def init(params: Tree) -> LayerConflictsState:
        names = sorted(set(labels_of_leaves(params, labels)))

        def zeros(dtype: jnp.dtype) -> ByLabel:
            # An array each: a state that is donated must not hold one twice.
            return {name: jnp.zeros((), dtype) for name in names}

        means = [zeros(jnp.float32) for _ in range(5)]
        return LayerConflictsState(jnp.zeros((), jnp.int32), zeros(jnp.int32), *means)

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del params, extra_args
        r = mean_retain_grads("layer_conflicts", updates, retain_grads, None, axis_name)
        u = pmean_gradients("updates", updates, axis_name)
        of_leaves = labels_of_leaves(updates, labels)
        names = sorted(state.conflicts)
        if names != sorted(set(of_leaves)):
            raise ValueError(
                f"the updates have the layers {sorted(set(of_leaves))}, and init got {names}; "
                "give init the parameters whose gradients are measured"
            )
        groups = tuple(names.index(label) for label in of_leaves)
        products = inner_products(*widened(u, r), groups)
        return updates, _counted(state, names, products, sign, threshold)

    return optax.GradientTransformationExtraArgs(init, update)


def _counted(
    state: LayerConflictsState,
    names: list[str],
    products: InnerProducts,
    sign: int,
    threshold: float | jax.Array,
) -> LayerConflictsState:
    """Returns `state` after one more step with the inner products of the layers `names`."""
    # Of the rescaled parts, so that a cosine is right at any scale.
    update_norm, retain_norm = jnp.sqrt(products.update_square), jnp.sqrt(products.retain_square)
    both = update_norm * retain_norm
    cosine = jnp.where(both > 0, products.dot / jnp.where(both > 0, both, 1), 0)
    cosine = jnp.where(products.finite, jnp.clip(cosine, -1, 1), jnp.nan)
    update_norm /= products.update_scale
    retain_norm /= products.retain_scale

    finite = jnp.all(products.finite)
    steps = state.steps + finite.astype(jnp.int32)
    weight = 1 / jnp.maximum(steps, 1).astype(jnp.float32)
    conflicts = (finite & (sign * cosine < threshold)).astype(jnp.int32)

    def by_label(values: jax.Array) -> ByLabel:
        return dict(zip(names, values, strict=True))

    def mean(old: ByLabel, values: jax.Array) -> ByLabel:
        new = by_label(values.astype(jnp.float32))
        return {
            name: jnp.where(finite, old[name] + weight * (new[name] - old[name]), old[name])
            for name in old
        }

    return LayerConflictsState(
        steps,
        {name: state.conflicts[name] + more for name, more in by_label(conflicts).items()},
        mean(state.mean_cosine, cosine),
        mean(state.mean_dot, cosine * update_norm * retain_norm),
        mean(state.mean_update_norm, update_norm),
        mean(state.mean_retain_norm, retain_norm),
        by_label(cosine.astype(jnp.float32)),
    )
