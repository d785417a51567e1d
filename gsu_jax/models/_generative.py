"""The record of pure functions that the library needs to know of a generative model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

Params = Any


@dataclass(frozen=True)
class GenerativeModel:
    """A generative model as a record of pure functions of its parameters, which are any pytree.

    Images are `[n, height, width, channels]`, floating in [0, 1]: `unlearn` and `evaluate` scale
    uint8 images before a function sees them. A model of other examples, such as images with labels,
    gets a pytree of arrays `[n, ...]` in their place. `encode` to `mean` describe a latent variable
    model. A method that needs a missing one refuses the model before it starts.

    Attributes:
        init: `init(key) -> params`.
        loss: `loss(params, images, key) -> scalar`, the training loss, a mean over images of one
            number each. For a VAE this is the negative ELBO in nats, with its beta.
        sample: `sample(params, key, n) -> images`, floating in [0, 1]; `n` is a Python integer.
        encode: `encode(params, images) -> (mean, log_variance)` of q(z|x), each `[n, latent]`.
        decode: `decode(params, z) -> decoded`, the parameters of p(x|z).
        log_likelihood: `log_likelihood(decoded, images) -> [n]`, log p(x|z) in nats, float32.
        mean: `mean(decoded) -> images`, the mean of p(x|z), floating in [0, 1].
        elbo: `elbo(params, images, key) -> [n]`, a bound of log p(x) in nats, float32, of a model
            without `encode`, `decode` and `log_likelihood`.
        per_image_loss: `per_image_loss(params, images, key) -> [n]`, whose mean is `loss`, of a
            model that spreads its randomness over a batch, as diffusion its noise levels.
        denoise: `denoise(params, z, gamma) -> x` of a diffusion model: its estimate of the image,
            in [-1, 1], from z at the noise levels `[n]`. See `gsu_jax.models.diffusion`.
        name: The name that results.json records for a model of one's own in a study.

    Example:
        >>> constant = GenerativeModel(
        ...     init=lambda key: 0.5,
        ...     loss=lambda params, images, key: ((images - params) ** 2).mean(),
        ...     sample=lambda params, key, n: jax.numpy.full((n, 1, 1, 1), params),
        ... )
        >>> constant.sample(constant.init(jax.random.key(0)), jax.random.key(1), 3).shape
        (3, 1, 1, 1)
    """

    init: Callable[[jax.Array], Params]
    loss: Callable[[Params, Any, jax.Array], jax.Array]
    sample: Callable[[Params, jax.Array, int], jax.Array]
    encode: Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]] | None = None
    decode: Callable[[Params, jax.Array], Any] | None = None
    log_likelihood: Callable[[Any, jax.Array], jax.Array] | None = None
    mean: Callable[[Any], jax.Array] | None = None
    elbo: Callable[[Params, Any, jax.Array], jax.Array] | None = None
    name: str | None = None
    per_image_loss: Callable[[Params, Any, jax.Array], jax.Array] | None = None
    denoise: Callable[[Params, jax.Array, jax.Array], jax.Array] | None = None

    def has(self, *fields: str) -> bool:
        """Returns whether the model has all of these optional functions.

        Example:
            >>> GenerativeModel(None, None, None, denoise=lambda params, z, gamma: z).has("denoise")
            True
        """
        return all(getattr(self, field) is not None for field in fields)

    def require(self, *fields: str, needed_by: str, instead: Sequence[str] = ()) -> None:
        """Refuses a model that lacks one of the optional functions.

        Args:
            *fields: Names of optional functions.
            needed_by: Who needs them, for the message.
            instead: Names of optional functions that do as well, all together.

        Raises:
            ValueError: The model lacks a function.
        """
        missing = [field for field in fields if getattr(self, field) is None]
        if not missing or (instead and self.has(*instead)):
            return
        others = f", or with {', '.join(instead)}" if instead else ""
        neither = f" and no {', '.join(instead)}" if instead else ""
        raise ValueError(
            f"{needed_by} needs a model with {', '.join(fields)}{others}, but this GenerativeModel "
            f"has no {', '.join(missing)}{neither}; give GenerativeModel({missing[0]}=...)"
        )


Loss = Callable[[Params, Any, jax.Array], jax.Array]
