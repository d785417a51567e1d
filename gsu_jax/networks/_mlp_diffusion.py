"""A diffusion model of residual linear layers, in orthonormal coordinates of the image."""

from functools import lru_cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gsu_jax.checks import listing
from gsu_jax.models import GenerativeModel, MLPDiffusionConfig
from gsu_jax.models.diffusion import alpha, diffusion, to_data
from gsu_jax.networks._functional import functional
from gsu_jax.networks._noise_embedding import (
    NoiseEmbedding,
    normalize,
    preconditioning,
    zero_linear,
)

EMBEDDING = 64
SMALLEST_VARIANCE = (2 / 256) ** 2 / 12  # of rounding to one of 256 values


class _Layer(nnx.Module):
    """h + W silu((1 + scale) normalize(h) + shift); gamma gives scale and shift, 0 at first."""

    def __init__(self, config: MLPDiffusionConfig, rngs: nnx.Rngs) -> None:
        self.modulation = zero_linear(EMBEDDING, 2 * config.width, "float32", rngs)
        dtype = jnp.dtype(config.dtype)
        self.linear = nnx.Linear(config.width, config.width, dtype=dtype, rngs=rngs)

    def __call__(self, h: jax.Array, embedding: jax.Array) -> jax.Array:
        scale, shift = jnp.split(self.modulation(embedding), 2, axis=-1)
        return h + self.linear(nnx.silu(normalize(h) * (1.0 + scale) + shift)).astype(jnp.float32)


class _Denoiser(nnx.Module):
    """x^ of Gaussian coordinates, plus a correction by a residual network that is 0 at first."""

    def __init__(self, config: MLPDiffusionConfig, rngs: nnx.Rngs) -> None:
        basis, variances = cosine_basis(config.image_shape, config.coordinates)
        scale = config.data_deviation**2 * prod(config.image_shape) / (
            variances[:-1].sum() + variances[-1] * (prod(config.image_shape) - basis.shape[1])
        )  # fmt: skip
        self.mean = nnx.Param(jnp.zeros(len(basis)))
        self.basis = nnx.Param(jnp.asarray(basis))
        self.log_variance = nnx.Param(jnp.log(jnp.asarray(scale * variances, jnp.float32)))
        self.embedding = NoiseEmbedding(EMBEDDING, rngs)
        seen = basis.shape[1]
        self.first = nnx.Linear(seen, config.width, dtype=jnp.dtype(config.dtype), rngs=rngs)
        self.layers = nnx.List(_Layer(config, rngs) for _ in range(config.depth))
        self.last = zero_linear(config.width, seen, config.dtype, rngs)

    def __call__(self, z: jax.Array, gamma: jax.Array) -> jax.Array:
        """x^ `[n, pixels]` from z `[n, pixels]` and gamma `[n]`."""
        basis = jax.lax.stop_gradient(self.basis[...])  # orthonormal, and it stays so
        variance, gamma = jnp.exp(self.log_variance[...]), gamma[:, None]
        centered = z - alpha(gamma) * self.mean[...]
        seen = centered @ basis
        into, skip, out = preconditioning(gamma, variance[:-1])
        embedding = self.embedding(gamma[:, 0])
        h = self.first(seen * into).astype(jnp.float32)
        for layer in self.layers:
            h = layer(h, embedding)
        correction = self.last(normalize(h)).astype(jnp.float32)
        rest = preconditioning(gamma, variance[-1])[1]  # scales what the basis leaves out
        change = (skip - rest) * seen + out * correction
        return self.mean[...] + rest * centered + change @ basis.T


def cosine_basis(image_shape: tuple[int, int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` slowest two-dimensional cosine waves, and guesses of their variances.

    Args:
        image_shape: Height, width and channels.
        count: How many; at most one for each pixel and channel.

    Returns:
        An orthonormal basis `[pixels, count]`, and variances `[count + 1]` that fall with the
        square of the frequency. The last is the mean of the others' that the basis leaves out.
    """
    height, width, channels = image_shape
    rows, columns, channel = np.indices(image_shape).reshape(3, -1)
    squared = (rows / height) ** 2 + (columns / width) ** 2
    order = np.argsort(squared, kind="stable")
    kept, left = order[:count], order[count:]

    def waves(size: int, frequencies: np.ndarray) -> np.ndarray:
        places = (np.arange(size) + 0.5)[:, None]
        norm = np.where(frequencies == 0, np.sqrt(1 / size), np.sqrt(2 / size))
        return norm * np.cos(np.pi * places * frequencies / size)

    basis = np.einsum(
        "hk,wk,ck->hwck",
        waves(height, rows[kept]), waves(width, columns[kept]), np.eye(channels)[:, channel[kept]],
    ).reshape(-1, len(kept))  # fmt: skip
    variances = 1.0 / (1.0 + rows**2 + columns**2)
    rest = variances[left].mean() if len(left) else variances[kept].min()
    return basis.astype(np.float32), np.append(variances[kept], rest)


def mlp_diffusion(config: MLPDiffusionConfig | None = None) -> GenerativeModel:
    """A diffusion model of residual linear layers that sees the image in orthonormal coordinates.

    The image is m + V u + rest, with V orthonormal. Without its network the model is Gaussian: u
    and the rest are independent normals, whose denoiser is exact,
    x^ = m + V alpha s^2 u_z / (alpha^2 s^2 + sigma^2). The network, 0 at first, corrects u. The
    mean m and the variances are trained too. V stays: at first it holds the slowest cosine waves,
    which need no data; `use_principal_components` puts those of a training set in their place.

    Args:
        config: Its settings; the default is `MLPDiffusionConfig()`. Equal configs give one and the
            same model, so that compiled programs are found again.

    Returns:
        A `GenerativeModel`.

    Example:
        >>> model = mlp_diffusion(MLPDiffusionConfig((4, 4, 1), width=8, depth=1, coordinates=6))
        >>> params = model.init(jax.random.key(0))
        >>> model.sample(params, jax.random.key(1), 5).shape
        (5, 4, 4, 1)

    References:
        Kingma et al., `Variational Diffusion Models <https://arxiv.org/abs/2107.00630>`_, 2021.
    """
    return _build(config or MLPDiffusionConfig())


@lru_cache
def _build(config: MLPDiffusionConfig) -> GenerativeModel:
    init, module = functional(lambda rngs: _Denoiser(config, rngs))

    def denoise(params: dict, z: jax.Array, gamma: jax.Array) -> jax.Array:
        return module(params)(z.reshape(len(z), -1), gamma).reshape(z.shape)

    return diffusion(config, init, denoise)


def use_principal_components(params: dict[str, Any], images: jax.Array | np.ndarray) -> dict:
    """Parameters of a fresh `mlp_diffusion` whose coordinates are the images' principal components.

    The mean, the basis and the variances become those of the images. Give the images of the
    training set alone: a model that is trained again without some images must not see them here.

    Args:
        params: From `init`.
        images: `[n, height, width, channels]`, uint8 or floating in [0, 1].

    Returns:
        The parameters, with a new mean, basis and variances.

    Raises:
        ValueError: The images have another number of pixels, there are fewer than 2, or the
            parameters are those of another network.

    Example:
        >>> model = mlp_diffusion(MLPDiffusionConfig((2, 2, 1), width=8, depth=1))
        >>> params = model.init(jax.random.key(0))
        >>> images = np.random.default_rng(0).random((20, 2, 2, 1))
        >>> use_principal_components(params, images)["network"]["basis"].shape
        (4, 4)
    """
    network = params["network"]
    if "basis" not in network:
        raise ValueError(
            "params must be those of mlp_diffusion, whose network has a basis, got a network of "
            f"{listing(network)}; a transformer needs none"
        )
    x = np.asarray(to_data(jnp.asarray(images)), np.float64).reshape(len(images), -1)
    pixels, count = network["basis"].shape
    if len(x) < 2 or x.shape[1] != pixels:
        raise ValueError(
            f"images must be two or more of {pixels} numbers each, as the params are, got "
            f"{len(x)} of {x.shape[1]}"
        )
    mean = x.mean(0)
    variances, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    variances, vectors = np.maximum(variances[::-1], SMALLEST_VARIANCE), vectors[:, ::-1]
    rest = variances[count:].mean() if count < pixels else variances[-1]
    found = {
        "mean": mean,
        "basis": vectors[:, :count],
        "log_variance": np.log(np.append(variances[:count], rest)),
    }
    found = {name: jnp.asarray(array, jnp.float32) for name, array in found.items()}
    return params | {"network": network | found}
