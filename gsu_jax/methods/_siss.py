"""SISS: one sample of latents, or of noisy images, for both losses, by importance weights."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from gsu_jax.checks import at_least, between
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import latent_view, level_key, log_density, masked_mean
from gsu_jax.models import Params, sample_posterior
from gsu_jax.surgery import measure


@dataclass(frozen=True)
class SISS(Method):
    """Subtracts the forgotten loss from the retained loss, both at latents of their mixture.

        z ~ q_m = (1 - lambda) q*(z|x) + lambda q*(z|a)
        L_r = E w_x (-log p(x | Dec(z))),    w_x = q*(z|x) / q_m(z)
        L_f = E w_a (-log p(a | Dec(z))),    w_a = q*(z|a) / q_m(z)
        d = grad L_r - s |grad L_r| / |grad L_f| grad L_f

    a is a forgotten image, x a retained image drawn for it, and q* are the posteriors of the
    trained model. Since E over q_m of w_x f is E over q*(z|x) of f, L_r and L_f are the
    reconstruction losses of both sets. One pass of the decoder serves both. With log-odds
    t = log q*(z|a) - log q*(z|x) + log(lambda / (1 - lambda)) the weights are

        w_x = sigmoid(-t) / (1 - lambda),    w_a = sigmoid(t) / lambda

    so they have the bounds 1 / (1 - lambda) and 1 / lambda. The subtracted gradient has the share s
    of the length of the other, since L_f has no upper bound.

    For a diffusion model, that of the publication, q*(z|x) is the noise kernel N(alpha x, sigma^2
    I), and -log p(x | Dec(z)) is the squared error of the predicted noise, see `latent_view`. Both
    images of a pair have one noise level.

    What differs for a VAE: the kernel has no parameters, and neither has q* here: the encoder stays
    as it is, and the KL term is a constant. Two images of a narrow posterior share no latents. Then
    w_x and w_a are 0 or at their bounds, and a step is one on two separate halves of the batch.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.
        mixture: lambda, in (0, 1), the share of latents of forgotten images.
        forget_share: s, at least 0.

    Raises:
        ValueError: `mixture` is not in (0, 1), or `forget_share` is below 0.

    Example:
        >>> SISS(mixture=0.0)
        Traceback (most recent call last):
        ValueError: mixture must be in (0, 1), got 0.0

    References:
        Alberti et al., `Data Unlearning in Diffusion Models <https://arxiv.org/abs/2503.01034>`_,
        2025.
    """

    name: ClassVar[str] = "siss"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood")
    instead: ClassVar[tuple[str, ...]] = ("denoise",)

    learning_rate: float = 1e-3
    mixture: float = 0.5
    forget_share: float = 0.1

    def __post_init__(self) -> None:
        between(0, 1, mixture=self.mixture)
        at_least(0, forget_share=self.forget_share)

    def prepare(self, model, params, forget, retain, key) -> Params:
        """Returns theta*."""
        return params

    def gradients(self, model, prepared: Params, params, batch, key) -> StepGradients:
        """Returns d."""
        pair_key, choice_key, z_key = jax.random.split(key, 3)
        forgotten, mask = batch.visited
        n = len(mask)
        view, _ = latent_view(model, forgotten, level_key(key))
        retained = batch.retain[jax.random.randint(pair_key, (n,), 0, len(batch.retain))]
        own, other = (view.encode(prepared, images) for images in (forgotten, retained))
        chosen = jax.random.bernoulli(choice_key, self.mixture, (n, 1))
        z = sample_posterior(
            *(jnp.where(chosen, a, x) for a, x in zip(own, other, strict=True)), z_key
        )
        odds = log_density(z, *own) - log_density(z, *other)
        odds += jnp.log(self.mixture / (1.0 - self.mixture))
        forget_weights = jax.nn.sigmoid(odds) / self.mixture
        retain_weights = jax.nn.sigmoid(-odds) / (1.0 - self.mixture)

        def losses(params: Params) -> tuple[jax.Array, jax.Array]:
            decoded = view.decode(params, z)
            forget_values = -forget_weights * view.log_likelihood(decoded, forgotten)
            retain_values = -retain_weights * view.log_likelihood(decoded, retained)
            return masked_mean(forget_values, mask), masked_mean(retain_values, mask)

        (forget_loss, retain_loss), pull = jax.vjp(losses, params)
        one, zero = jnp.ones_like(forget_loss), jnp.zeros_like(forget_loss)
        (forget,), (retain,) = pull((one, zero)), pull((zero, one))
        _, forget_norm, retain_norm, _ = measure(forget, retain)
        scale = self.forget_share * retain_norm / jnp.where(forget_norm > 0, forget_norm, 1)
        updates = jax.tree.map(lambda r, f: r - (scale * f).astype(r.dtype), retain, forget)
        metrics = {"forget_loss": forget_loss, "retain_loss": retain_loss}
        return StepGradients(updates, retain, metrics)
