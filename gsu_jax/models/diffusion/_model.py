"""What all diffusion models share, whatever network denoises."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from gsu_jax.models._diffusion_configs import DiffusionConfig
from gsu_jax.models._elbo import PerImage
from gsu_jax.models._generative import GenerativeModel, Params
from gsu_jax.models.diffusion._bound import (
    BoundTerms,
    decoder_term,
    diffusion_term,
    prior_term,
    weight,
)
from gsu_jax.models.diffusion._noise import (
    ends,
    init_schedule,
    low_discrepancy_times,
    shape,
    split,
)
from gsu_jax.models.diffusion._pixels import to_data, to_images
from gsu_jax.models.diffusion._samplers import ancestral, ddim, heun, noise_levels
from gsu_jax.models.diffusion._variance import lower_variance


def diffusion(
    config: DiffusionConfig,
    init: Callable[[jax.Array], Params],
    denoise: Callable[[Params, jax.Array, jax.Array], jax.Array],
) -> GenerativeModel:
    """Builds a variational diffusion model from a network that denoises.

    Its parameters are `{"network": init(key)}`, with `"schedule"` if ends or shape are learned.

    Args:
        config: The image shape, the schedule, the weighting and the sampler.
        init: `init(key) -> params` of the network.
        denoise: `denoise(params, z, gamma)` of `[n, *image_shape]` at noise levels `[n]` gives x^,
            an estimate of the image in [-1, 1].

    Returns:
        A `GenerativeModel`. Its `loss` is the weighted diffusion term in nats, at one noise level
        per image. The prior and the decoder term are part of it if the ends are learned; if they
        are fixed, both are constants. Its `elbo` has all three terms, averaged over `bound_times`
        noise levels.

    Example:
        >>> config = DiffusionConfig((2, 2, 1))
        >>> model = diffusion(config, lambda key: {}, lambda params, z, gamma: 0 * z)
        >>> params = model.init(jax.random.key(0))
        >>> model.elbo(params, jnp.zeros((3, 2, 2, 1)), jax.random.key(1)).shape
        (3,)

    References:
        Kingma et al., `Variational Diffusion Models <https://arxiv.org/abs/2107.00630>`_, 2021.
    """

    def of_network(params: Params, z: jax.Array, gamma: jax.Array) -> jax.Array:
        return denoise(split(params)[0], z, gamma)

    def start(key: jax.Array) -> Params:
        schedule = init_schedule(config)
        return {"network": init(key)} | ({"schedule": schedule} if schedule else {})

    def per_image_loss(params: Params, images: jax.Array, key: jax.Array) -> PerImage:
        x, low, high = _prepare(config, params, images)
        time_key, noise_key, decoder_key = jax.random.split(key, 3)
        noise = jax.random.normal(noise_key, x.shape)

        def term(params: Params, low, high, share: jax.Array, slope: jax.Array) -> PerImage:
            gamma, slope = low + (high - low) * share, (high - low) * slope
            found = diffusion_term(partial(of_network, params), x, gamma, slope, noise)
            return weight(config, gamma) * found

        place = shape(config, split(params)[1], low_discrepancy_times(time_key, len(x)))
        if config.shape == "monotone":
            term = lower_variance(term)
        losses = term(params, low, high, *place)
        if config.schedule == "learned":
            noise = jax.random.normal(decoder_key, x.shape)
            losses += prior_term(x, high) + decoder_term(x, low, noise)
        return losses

    def loss(params: Params, images: jax.Array, key: jax.Array) -> jax.Array:
        return per_image_loss(params, images, key).mean()

    def elbo(params: Params, images: jax.Array, key: jax.Array) -> PerImage:
        return -bound_terms(config, of_network, params, images, key).total

    def sample(params: Params, key: jax.Array, n: int) -> jax.Array:
        low, high = ends(config, split(params)[1])
        gammas = noise_levels(high, low, config.sampler_steps)
        start_key, key = jax.random.split(key)
        z = jax.random.normal(start_key, (n, *config.image_shape))

        def clipped(z: jax.Array, gamma: jax.Array) -> jax.Array:
            return jnp.clip(of_network(params, z, gamma), -1.0, 1.0)

        if config.sampler == "ancestral":
            z = ancestral(clipped, z, gammas, key)
        else:
            z = {"ddim": ddim, "heun": heun}[config.sampler](clipped, z, gammas)
        return to_images(clipped(z, jnp.full(n, low)))

    return GenerativeModel(
        start, loss, sample, elbo=elbo, per_image_loss=per_image_loss, denoise=of_network
    )


def bound_terms(
    config: DiffusionConfig,
    denoise: Callable[[Params, jax.Array, jax.Array], jax.Array],
    params: Params,
    images: jax.Array,
    key: jax.Array,
) -> BoundTerms:
    """The terms of the bound of each image, with the diffusion term at `bound_times` levels.

    The levels of an image are evenly spread and its own, so the terms of an image do not depend on
    the others. One level passes through the network at a time.

    Args:
        config: The image shape, the schedule and `bound_times`.
        denoise: `GenerativeModel.denoise`.
        params: The parameters of the model.
        images: `[n, *image_shape]`, uint8 or floating in [0, 1].
        key: A PRNG key.

    Returns:
        `BoundTerms`, in nats.

    Raises:
        TypeError: The images are neither uint8 nor floating.
        ValueError: The images have another shape than the model's.

    Example:
        >>> config = DiffusionConfig((2, 2, 1), bound_times=4)
        >>> perfect = lambda params, z, gamma: jnp.ones_like(z) / 256
        >>> images = jnp.full((3, 2, 2, 1), 128, jnp.uint8)
        >>> terms = bound_terms(config, perfect, {"network": {}}, images, jax.random.key(0))
        >>> terms.diffusion.tolist()
        [0.0, 0.0, 0.0]
    """
    x, low, high = _prepare(config, params, images)
    time_key, noise_key, decoder_key = jax.random.split(key, 3)
    of_images = jax.vmap(lambda key: low_discrepancy_times(key, config.bound_times))
    times = of_images(jax.random.split(time_key, len(x))).T
    shares, slopes = shape(config, split(params)[1], times)

    def add(total: PerImage, now: tuple) -> tuple[PerImage, None]:
        share, slope, key = now
        gamma, noise = low + (high - low) * share, jax.random.normal(key, x.shape)
        slope = (high - low) * slope
        return total + diffusion_term(partial(denoise, params), x, gamma, slope, noise), None

    keys = jax.random.split(noise_key, config.bound_times)
    total = jax.lax.scan(add, jnp.zeros(len(x)), (shares, slopes, keys))[0]
    return BoundTerms(
        prior=prior_term(x, high),
        diffusion=total / config.bound_times,
        decoder=decoder_term(x, low, jax.random.normal(decoder_key, x.shape)),
    )


def _prepare(
    config: DiffusionConfig, params: Params, images: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The images in [-1, 1], a check of their shape, and the ends of the schedule."""
    if images.shape[1:] != config.image_shape:
        expected = ", ".join(map(str, config.image_shape))
        raise ValueError(f"images must be [n, {expected}] for this model, got {list(images.shape)}")
    return to_data(images), *ends(config, split(params)[1])
