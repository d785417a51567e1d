"""`GenerativeModel`: what the rest of the library needs to know of a model, as pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

Params = Any


@dataclass(frozen=True)
class GenerativeModel:
    """A generative model as a record of pure functions of its parameters (any pytree).

    Images are NHWC, float in [0, 1] or uint8 (scaled on the device, see `scale_images`). The last
    four fields describe a latent variable model; a method that needs one of them and does not find
    it says so before it starts (`GenerativeModel.require`).

    Attributes:
      init: `init(key) -> params`.
      loss: `loss(params, images, key) -> scalar`, the training loss: a mean over images of one
        number each (for a VAE the negative ELBO in nats, its beta included).
      sample: `sample(params, key, n) -> images`, float in [0, 1], `n` a Python integer.
      encode: `encode(params, images) -> (mean, log_variance)` of q(z|x), each `[n, latent]`.
      decode: `decode(params, z) -> decoded`, the parameters of p(x|z).
      log_likelihood: `log_likelihood(decoded, images) -> [n]`, log p(x|z) in nats, float32.
      mean: `mean(decoded) -> images`, the mean of p(x|z), float in [0, 1].
    """

    init: Callable[[jax.Array], Params]
    loss: Callable[[Params, jax.Array, jax.Array], jax.Array]
    sample: Callable[[Params, jax.Array, int], jax.Array]
    encode: Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]] | None = None
    decode: Callable[[Params, jax.Array], Any] | None = None
    log_likelihood: Callable[[Any, jax.Array], jax.Array] | None = None
    mean: Callable[[Any], jax.Array] | None = None

    def require(self, *fields: str, needed_by: str) -> None:
        """Raises ValueError naming the optional `fields` this model lacks and who needs them."""
        missing = [field for field in fields if getattr(self, field) is None]
        if missing:
            raise ValueError(
                f"{needed_by} needs a model with {', '.join(fields)}; this GenerativeModel has no "
                f"{', '.join(missing)}. Give GenerativeModel({missing[0]}=...), or choose a "
                "method that works from the loss alone, such as gradient_surgery."
            )


Loss = Callable[[Params, Any, jax.Array], jax.Array]
