"""Posteriors that are refitted to single images, with the decoder frozen."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from gsu_jax.models._elbo import kl_to_standard_normal

Gaussian = tuple[jax.Array, jax.Array]  # mean and log variance, each [n, latent]
LEARNING_RATE = 0.1
JUDGED = 16  # draws of z that decide between the two starts of an image


def refit_posteriors(
    log_likelihood: Callable[[jax.Array], jax.Array],
    start: Gaussian,
    keys: jax.Array,
    steps: int,
    *,
    from_prior: bool = True,
) -> Gaussian:
    """q*_x = N(m, diag s^2) of each image: `steps` of Adam on its ELBO, over m and log s^2.

    One draw of z for each step. The rate falls to 0 along a cosine. With `from_prior` each image is
    fitted twice, from `start` and from the prior; the fit with the larger ELBO in 16 common draws
    stays. A fit that is not finite loses.

    Args:
        log_likelihood: `log_likelihood(z)` of `[n, latent]` gives log p(x_i | z_i), `[n]`.
        start: The encoder's output, finite.
        keys: `[n]`, a key for each image.
        steps: Steps of Adam.
        from_prior: Whether to fit from the prior too, which takes twice the time.

    Returns:
        Mean and log variance.

    Example:
        A decoder that draws z itself, with variance 1: the posterior of x = 1 is N(1/2, 1/2).

        >>> def log_likelihood(z):
        ...     return -0.5 * ((1.0 - z) ** 2).sum(-1)
        >>> start = jnp.zeros((1, 1)), jnp.zeros((1, 1))
        >>> keys = jax.random.split(jax.random.key(0), 1)
        >>> mean, _ = refit_posteriors(log_likelihood, start, keys, steps=300)
        >>> bool(abs(mean[0, 0] - 0.5) < 0.2)
        True
    """

    def noise(number: jax.Array | int) -> jax.Array:
        draws = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        return jax.vmap(lambda key: jax.random.normal(key, start[0].shape[1:]))(draws)

    def elbos(fit: Gaussian, epsilon: jax.Array) -> jax.Array:
        mean, log_variance = fit
        z = mean + jnp.exp(0.5 * log_variance) * epsilon
        return log_likelihood(z) - kl_to_standard_normal(mean, log_variance)

    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))

    def step(number: jax.Array, carry: tuple) -> tuple:
        fits, state = carry
        epsilon = noise(number)
        grads = jax.grad(lambda fits: -sum(elbos(fit, epsilon).sum() for fit in fits))(fits)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(fits, updates), state

    fits = (start, jax.tree.map(jnp.zeros_like, start)) if from_prior else (start,)
    fits, _ = jax.lax.fori_loop(0, steps, step, (fits, optimizer.init(fits)))
    if not from_prior:
        return fits[0]

    def judge(number: jax.Array, sums: tuple) -> tuple:
        epsilon = noise(steps + number)
        return tuple(total + elbos(fit, epsilon) for total, fit in zip(sums, fits, strict=True))

    zeros = (jnp.zeros(len(keys)),) * 2
    sums = jax.lax.fori_loop(0, JUDGED, judge, zeros)
    first, second = (jnp.where(jnp.isfinite(total), total, -jnp.inf) for total in sums)
    keep = (first >= second)[:, None]
    return jax.tree.map(lambda one, other: jnp.where(keep, one, other), *fits)
