"""Accumulates the updates and the retain gradient over several calls, and steps once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import at_least, integer
from gsu_jax.surgery._leaves import accumulator, like_updates
from gsu_jax.surgery._retain_grads import retain_grads_of_step
from gsu_jax.surgery._tree_checks import Tree, check_gradients


class MultiStepsState(NamedTuple):
    """What the calls since the last step add up to.

    Attributes:
        mini_step: The number of these calls, 0 ... k - 1; 0 right after a step.
        updates: The sum of their updates over k, in float32 at least.
        retain_grads: The sum of their retain gradients over k, in float32 at least.
        inner_state: The state of the wrapped transform.
    """

    mini_step: jax.Array
    updates: Tree
    retain_grads: Tree
    inner_state: optax.OptState


def multi_steps(
    tx: optax.GradientTransformation, k: int, *, retain_gradients: int | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Accumulates the updates and the retain gradient alike, and steps at every k-th call.

    With u_1 ... u_k the updates of k calls and r_1 ... r_k their retain gradients, the k-th call
    returns what `tx` makes of both means,

    .. math:: \frac{1}{k} \sum_i u_i, \quad \frac{1}{k} \sum_i r_i

    The other calls return zeros and leave the state of `tx` alone. A projection is not linear in
    the retain gradient, so it must see the mean. `optax.MultiSteps` accumulates the updates only:
    in it, a projection sees the retain gradient of the last call.

    In one accumulation, give either one retain gradient at every call, or a set of the same size at
    every call. A single one before a set is added to each gradient of the set.

    The sums are kept in float32 at least, which costs the memory of two gradients. `tx` gets the
    means in the dtypes of the gradients, and `params` and other extra arguments of the k-th call.
    Under `shard_map`, average both gradients over the devices first, or use `check_vma=False` and
    keep a state per device.

    Args:
        tx: The optimizer, such as `optax.chain(project_conflicting(), optax.adam(1e-3))`.
        k: The number of calls per step, at least 1.
        retain_gradients: The length of the leading axis if `retain_grads` is a set of gradients.
            Under `lax.scan`, `lax.cond` and in a compiled loop it must be given. Elsewhere, the
            first call gives the state this axis.

    Returns:
        A transform with the state `MultiStepsState`. `update` needs `retain_grads`: for one that is
        fixed, or for none, `optax.MultiSteps` will do.

    Raises:
        TypeError: `k` or `retain_gradients` is no integer. From `update`: a leaf is not floating
            point (names the leaf).
        ValueError: `k` or `retain_gradients` is below 1. From `update`: there is no retain
            gradient, leaves do not match (names the leaf), or the number of retain gradients
            changes from one call to the next.

    Example:
        >>> import jax.numpy as jnp
        >>> from gsu_jax.surgery import project_conflicting
        >>> transform = multi_steps(project_conflicting(), 2)
        >>> state, retain = transform.init(jnp.zeros(2)), jnp.array([0.0, 2.0])
        >>> for update in jnp.array([[1.0, 1.0], [3.0, 1.0]]):
        ...     mean, state = transform.update(update, state, retain_grads=retain)
        ...     print(mean.tolist())
        [0.0, 0.0]
        [2.0, 0.0]
    """
    integer(k=k)
    at_least(1, k=k)
    if retain_gradients is not None:
        integer(retain_gradients=retain_gradients)
        at_least(1, retain_gradients=retain_gradients)
    inner = optax.with_extra_args_support(tx)

    def init(params: Tree) -> MultiStepsState:
        # Two trees of zeros: a state that is donated must not hold an array twice.
        updates, retain_grads = _zeros(params), _zeros(params, retain_gradients)
        return MultiStepsState(_first_call(), updates, retain_grads, inner.init(params))

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        r = retain_grads_of_step("multi_steps", updates, retain_grads)
        check_gradients(updates, r)
        sums = (
            _add_share(state.updates, updates, k),
            _add_share(_with_axis_of(state.retain_grads, r), r, k),
        )

        def step(sums, inner_state):
            mean_u, mean_r = (
                like_updates(given, jax.tree.leaves(total))
                for given, total in zip((updates, r), sums, strict=True)
            )
            steps, new_state = inner.update(
                mean_u, inner_state, params, retain_grads=mean_r, **extra_args
            )
            # Not a product with 0, which would keep a NaN for ever.
            empty = jax.tree.map(jnp.zeros_like, sums)
            new_state = like_updates(inner_state, jax.tree.leaves(new_state))
            return steps, MultiStepsState(_first_call(), *empty, new_state)

        def wait(sums, inner_state):
            steps, _ = jax.eval_shape(step, sums, inner_state)
            nothing = jax.tree.map(lambda u, s: jnp.zeros_like(u, s.dtype), sums[0], steps)
            return nothing, MultiStepsState(state.mini_step + 1, *sums, inner_state)

        return jax.lax.cond(state.mini_step == k - 1, step, wait, sums, state.inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _first_call() -> jax.Array:
    return jnp.zeros((), jnp.int32)


def _zeros(params: Tree, count: int | None = None) -> Tree:
    """Accumulators of gradients of `params`, or of sets of `count` gradients."""

    def zeros(p):
        one = jnp.zeros_like(p, accumulator([p]))
        return one if count is None else jnp.broadcast_to(one, (count, *one.shape))

    return jax.tree.map(zeros, params)


def _add_share(total: Tree, gradients: Tree, k: int) -> Tree:
    """Returns `total` + `gradients` / k in the dtypes of `total`."""
    return jax.tree.map(lambda t, g: t + jnp.asarray(g, t.dtype) / k, total, gradients)


def _with_axis_of(total: Tree, retain_grads: Tree) -> Tree:
    """Returns `total` with the leading axis of a set of retain gradients, if it has none yet."""

    def match(t, r):
        expected, got = t.shape, jnp.shape(r)
        if expected not in (got, got[1:]):
            raise ValueError(
                f"retain_grads has a leaf of shape {got} where multi_steps has accumulated "
                f"{expected}: give one retain gradient in every call, or a set of "
                "retain_gradients=... of them in every call"
            )
        return jnp.broadcast_to(t, got)

    return jax.tree.map(match, total, retain_grads)
