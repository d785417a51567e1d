"""The average of gradients over the devices of a `pmap` or `shard_map`, refusing a hidden sum."""

from typing import Any

import jax
from jax import lax

Tree = Any
AxisName = str | tuple[str, ...]


def average(name: str, tree: Tree, axis_name: AxisName) -> Tree:
    """Returns `lax.pmean(tree, axis_name)`, unless `shard_map` has summed the gradients already.

    With `check_vma=True`, its default, JAX knows what varies over an axis: the axis index does, a
    gradient of replicated parameters does not, since JAX has summed it over the devices. Their
    average is the sum: a step n times too large on n devices, which Adam hides. No leaf that varies
    is the sure sign of it; without `check_vma`, nothing varies as far as JAX knows.

    Args:
        name: what the error calls the tree.
        tree: gradients, one set per device.
        axis_name: the mapped axis or axes.

    Raises:
        ValueError: the gradients arrived summed; the message gives the three right forms.
    """
    for axis in (axis_name,) if isinstance(axis_name, str) else axis_name:
        tracked = axis in _varying_axes(lax.axis_index(axis))
        if tracked and not any(axis in _varying_axes(leaf) for leaf in jax.tree.leaves(tree)):
            raise ValueError(
                f'{name} do not vary over the axis "{axis}": under shard_map with check_vma=True, '
                "gradients of replicated parameters arrive summed over the devices, and the "
                "average of that is the sum. Differentiate with respect to "
                f'jax.lax.pcast(params, "{axis}", to="varying"), or use check_vma=False, or '
                "average the loss with jax.lax.pmean and leave axis_name out"
            )
    return lax.pmean(tree, axis_name)


def _varying_axes(value: Any) -> frozenset:
    """The manual axes over which JAX knows `value` to vary."""
    kind = jax.typeof(value)
    if hasattr(kind, "manual_axis_type"):  # JAX 0.10; before, the type had them as `vma`
        return kind.manual_axis_type.varying
    return getattr(kind, "vma", frozenset())
