"""NAME: one line that says what the model is.

Copy to `gsu_jax/networks/_NAME.py`; the config goes to `gsu_jax/models/_configs.py`, which knows no
Flax. The networks here compute convolutions as matrix products (`gsu_jax/networks/_patches.py`).
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import jax
import jax.numpy as jnp

from gsu_jax.checks import at_least
from gsu_jax.models import GenerativeModel


@dataclass(frozen=True)
class SkeletonConfig:
    """The settings of `skeleton`: plain values, so that a study can record them.

    Attributes:
        image_shape: `(height, width, channels)`.
        width: the number of hidden units.

    Raises:
        ValueError: `width` is below 1.
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    width: int = 64

    def __post_init__(self) -> None:
        at_least(1, width=self.width)


def skeleton(config: SkeletonConfig | None = None) -> GenerativeModel:
    """A linear autoencoder: replace it by your model.

    Args:
        config: Its settings. Equal configs give one and the same model, so that compiled programs
            are found again.

    Example:
        >>> model = skeleton(SkeletonConfig((2, 2, 1), width=3))
        >>> model.sample(model.init(jax.random.key(0)), jax.random.key(1), 5).shape
        (5, 2, 2, 1)
    """
    return _build(config or SkeletonConfig())


@lru_cache
def _build(config: SkeletonConfig) -> GenerativeModel:
    pixels = prod(config.image_shape)

    def init(key: jax.Array) -> dict:
        first, second = jax.random.split(key)
        return {
            "encoder": jax.random.normal(first, (pixels, config.width)) / pixels**0.5,
            "decoder": jax.random.normal(second, (config.width, pixels)) / config.width**0.5,
        }

    def loss(params: dict, images: jax.Array, key: jax.Array) -> jax.Array:
        """A mean over images; randomness comes from the key alone."""
        noise_key = key
        x = images.reshape(len(images), -1)
        z = x @ params["encoder"]
        z = z + 0.1 * jax.random.normal(noise_key, z.shape)
        return jnp.square(z @ params["decoder"] - x).sum(-1).mean()

    def sample(params: dict, key: jax.Array, n: int) -> jax.Array:
        z = jax.random.normal(key, (n, config.width))
        return jax.nn.sigmoid(z @ params["decoder"]).reshape(n, *config.image_shape)

    return GenerativeModel(init, loss, sample)
