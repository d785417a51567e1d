"""A rehearsal: a short training on retained images, to foresee what a retrained model does."""

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import above, at_least
from gsu_jax.data import ImageSet
from gsu_jax.models import (
    GenerativeModel,
    Params,
    PerImage,
    kl_to_standard_normal,
    refit_posteriors,
    sample_posterior,
)

PART = 64  # images at a time, which bounds the memory
FITS = 40  # steps of a refitted posterior
DRAWS = 16  # of z for an ELBO


def retrained_gap(
    model: GenerativeModel,
    params: Params,
    forget: ImageSet | jax.Array,
    retain: ImageSet | jax.Array,
    key: jax.Array,
    *,
    steps: int = 1000,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    compared: int = 256,
) -> jax.Array:
    """Estimates how many nats worse a retrained model would describe the forgotten images.

    A fresh model is trained on retained images for `steps` steps of Adam. It describes all images
    worse than a fully trained one. How much worse, retained images show: with L* and L the ELBOs
    under the trained and the fresh model, each with posteriors refitted to its decoder, a line

        L*(x) - L(x) = a + b L(x)

    is fitted to retained images by least squares. Those that the fresh model describes about as
    well as the forgotten ones count most: their weights are exp(-d^2 / 2), with d the distance of
    L(x) from its forgotten mean in halves of its retained standard deviation. The line translates
    the fresh model into a retrained one, so the estimate is

        gap = mean L*(x) - mean L(x) - (a + b mean L(x)),   all means over forgotten images

    Args:
        model: a model with encode, decode and log_likelihood.
        params: the trained parameters.
        forget: the images to forget.
        retain: the retained images.
        key: a JAX random key.
        steps: of the training, rounded up to an even number. With fewer the estimate is rougher.
        batch_size: retained images in a step.
        learning_rate: of Adam, constant.
        compared: images of each set that both models describe, drawn with replacement; rounded up
            to a multiple of 64.

    Returns:
        The gap in nats, `[]`, float32. It is at least 0; 0 also stands for an estimate that is not
        finite, because a training or an image diverged.

    Raises:
        ValueError: an argument is out of its range, or the model lacks a function.

    Example:
        An untrained model knows none of the images, so the gap is close to 0:

        >>> from gsu_jax.models import MLPVAEConfig
        >>> from gsu_jax.networks import mlp_vae
        >>> model = mlp_vae(MLPVAEConfig(image_shape=(2, 2, 1), widths=(4,), latent_size=2))
        >>> images = jax.random.uniform(jax.random.key(0), (64, 2, 2, 1))
        >>> params = model.init(jax.random.key(1))
        >>> gap = retrained_gap(model, params, images[:8], images[8:], jax.random.key(2), steps=20)
        >>> bool(gap < 1.0)
        True
    """
    forget, retain = ImageSet.of(forget), ImageSet.of(retain)
    at_least(1, steps=steps, batch_size=batch_size, compared=compared)
    above(0, learning_rate=learning_rate)
    model.require("encode", "decode", "log_likelihood", needed_by="retrained_gap")
    start_key, train_key, forget_key, retain_key, refit_key = jax.random.split(key, 5)
    shape = (-(-compared // PART) * PART,)
    some_f = jax.random.randint(forget_key, shape, 0, forget.count)
    some_r = jax.random.randint(retain_key, shape, 0, retain.count)

    def described(params: Params) -> tuple[PerImage, PerImage]:
        return (
            _elbos(model, params, forget, some_f, refit_key),
            _elbos(model, params, retain, some_r, refit_key),
        )

    trained_f, trained_r = described(params)

    def estimate(fresh: Params) -> jax.Array:
        fresh_f, fresh_r = described(fresh)
        lag = _value_at(fresh_f.mean(), fresh_r, trained_r - fresh_r)
        return trained_f.mean() - fresh_f.mean() - lag

    rehearsed = _train(model, retain, start_key, train_key, steps, batch_size, learning_rate)
    half, whole = jax.lax.map(estimate, rehearsed)
    gap = 2.0 * whole - half
    return jnp.where(jnp.isfinite(gap), jnp.maximum(gap, 0.0), 0.0)


def _value_at(point: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The value at `point` of a line through y(x), fitted with weights that fall off from it."""
    weights = jax.nn.softmax(-0.5 * ((x - point) / (0.5 * x.std() + 1e-6)) ** 2)
    mean_x, mean_y = weights @ x, weights @ y
    covariance = weights @ ((x - mean_x) * (y - mean_y))
    slope = covariance / (weights @ (x - mean_x) ** 2 + 1e-6)
    return mean_y + slope * (point - mean_x)


def _train(
    model: GenerativeModel,
    images: ImageSet,
    start_key: jax.Array,
    train_key: jax.Array,
    steps: int,
    batch_size: int,
    learning_rate: float,
) -> Params:
    """Trains a fresh model; its parameters after half of the steps and after all of them."""
    optimizer = optax.adam(learning_rate)

    def step(carry, key):
        params, state = carry
        choice_key, loss_key = jax.random.split(key)
        batch = images.take(jax.random.randint(choice_key, (batch_size,), 0, images.count))
        updates, state = optimizer.update(jax.grad(model.loss)(params, batch, loss_key), state)
        return (optax.apply_updates(params, updates), state), None

    def part(carry, keys):
        carry, _ = jax.lax.scan(step, carry, keys)
        return carry, carry[0]

    params = model.init(start_key)
    keys = jax.random.split(train_key, (2, -(-steps // 2)))
    return jax.lax.scan(part, (params, optimizer.init(params)), keys)[1]


def _elbos(
    model: GenerativeModel,
    params: Params,
    images: ImageSet,
    indices: jax.Array,
    key: jax.Array,
) -> PerImage:
    """The ELBO of each of the images at `indices`, with a posterior refitted to it."""

    def of_part(part: tuple[jax.Array, jax.Array]) -> PerImage:
        indices, keys = part
        x = images.take(indices)

        def log_likelihood(z: jax.Array) -> PerImage:
            return model.log_likelihood(model.decode(params, z), x)

        encoded = (y.astype(jnp.float32) for y in model.encode(params, x))
        start = tuple(map(jnp.nan_to_num, encoded))
        mean, log_variance = refit_posteriors(log_likelihood, start, keys, FITS, from_prior=False)

        def draw(key: jax.Array) -> PerImage:
            return log_likelihood(sample_posterior(mean, log_variance, key))

        drawn = jax.lax.map(draw, jax.random.split(key, DRAWS)).mean(0)
        return drawn - kl_to_standard_normal(mean, log_variance)

    parts = len(indices) // PART
    keys = jax.random.split(key, len(indices))
    split = jax.tree.map(lambda x: x.reshape(parts, PART, *x.shape[1:]), (indices, keys))
    return jax.lax.map(of_part, split).reshape(-1)
