"""The mean of gradients over the devices of a `pmap` or `shard_map`, which refuses a hidden sum."""

from typing import Any

import jax
from jax import lax

from gsu_jax.surgery._tree_checks import Tree

AxisName = str | tuple[str, ...]


def pmean_gradients(name: str, tree: Tree, axis_name: AxisName | None) -> Tree:
    """Returns `lax.pmean(tree, axis_name)`, unless `shard_map` has summed the gradients already.

    With `check_vma=True`, its default, `shard_map` sums the gradients of replicated parameters over
    the devices. Their mean is then the sum: on n devices the step is n times too large, which Adam
    hides. JAX tracks which values vary over an axis. The axis index always varies; summed gradients
    do not. Without `check_vma`, JAX tracks nothing and nothing is refused.

    Args:
        name: What the error calls the tree.
        tree: The gradients, one set per device.
        axis_name: The mapped axis or axes; None returns `tree` as it is.

    Raises:
        ValueError: The gradients arrived summed; the message gives the three right forms.
    """
    if axis_name is None:
        return tree
    for axis in (axis_name,) if isinstance(axis_name, str) else axis_name:
        tracked = axis in _varying_axes(lax.axis_index(axis))
        if tracked and not any(axis in _varying_axes(leaf) for leaf in jax.tree.leaves(tree)):
            raise ValueError(
                f'{name} do not vary over the axis "{axis}": under shard_map with check_vma=True, '
                "gradients of replicated parameters arrive summed over the devices, and the mean "
                "of that is the sum. Differentiate with respect to "
                f'jax.lax.pcast(params, "{axis}", to="varying"), or use check_vma=False, or '
                "average the loss with jax.lax.pmean and leave axis_name out"
            )
    return lax.pmean(tree, axis_name)


def _varying_axes(value: Any) -> frozenset:
    """The manual axes over which `value` varies, as far as JAX knows (no public API has it)."""
    kind = jax.typeof(value)
    if hasattr(kind, "manual_axis_type"):
        return kind.manual_axis_type.varying
    return getattr(kind, "vma", frozenset())
