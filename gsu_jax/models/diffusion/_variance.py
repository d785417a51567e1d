"""The gradient that shapes a noise schedule: that of the variance of the loss."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def lower_variance(term: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The same losses, whose gradient for the last two arguments is that of their variance.

    The mean of the diffusion term over uniform t does not depend on how gamma runs between its
    ends, but the variance of an estimate from one t does. Its gradient is that of E L^2, which is
    E 2 L grad L. So in the backward pass what reaches the last two arguments is multiplied by 2 L,
    divided by the mean of L. The other arguments get the gradient of the losses.

    Args:
        term: `term(params, low, high, share, slope) -> [n]`, with `share` and `slope` `[n]`.

    Returns:
        A function of the same arguments.

    References:
        Kingma et al., `Variational Diffusion Models <https://arxiv.org/abs/2107.00630>`_, 2021,
        appendix I.
    """

    def value(*arguments: Any) -> jax.Array:
        return term(*arguments)

    def forward(*arguments: Any) -> tuple[jax.Array, tuple]:
        losses, pull = jax.vjp(term, *arguments)
        return losses, (losses, pull)

    def backward(kept: tuple, cotangent: jax.Array) -> tuple:
        losses, pull = kept
        *others, share, slope = pull(cotangent)
        # A loss that is raised shall have less variance too.
        factor = 2.0 * losses / jnp.mean(losses) * jnp.sign(cotangent)
        return *others, factor * share, factor * slope

    lowered = jax.custom_vjp(value)
    lowered.defvjp(forward, backward)
    return lowered
