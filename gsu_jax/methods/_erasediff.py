"""EraseDiff: the retained loss falls, and the loss towards noise must fall with it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import above, at_least, choice, whole
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import (
    MaskedBatch,
    image_of_noise,
    latent_view,
    level_key,
    masked_mean,
)
from gsu_jax.models import Params, sample_posterior
from gsu_jax.surgery import forget_retain_grads, measure_conflict
from gsu_jax.surgery.rules import barrier


@dataclass(frozen=True)
class EraseDiff(Method):
    """Minimizes l_r under the constraint that the decoder learns noise at forgotten latents.

        min l_r  subject to  L_f(theta) <= L_f(theta_K),    L_f = -E log p(u | Dec(z))
        d = r + lambda q,    lambda = max(0, eta - cos(r, q)),    r = grad l_r

    u are images of uniform noise, and z ~ q*(z|x_f) are the latents that theta*, the trained
    parameters, give the visited images. theta_K is theta after K steps of descent on L_f.

    - K = 0: L_f(theta_K) is a constant, so q = grad L_f(theta). The authors' program does this: it
      takes the inner steps, and then no derivative through them.
    - K > 0: q = grad L_f(theta) - grad L_f(theta_K), the derivative with the Jacobian of the inner
      steps taken as the identity. It is small where the inner steps are, so it forgets more slowly.
      The noise is the same in both gradients.

    For a diffusion model, that of the publication, the denoiser of noisy forgotten images learns to
    predict uniform noise in place of Gaussian noise:

        L_f = E pi |u - epsilon^(z, gamma)|^2,    z = alpha x_f + sigma epsilon

    See `latent_view`.

    What differs for a VAE: a decoder has no noise to predict; noise images in the range of the data
    are the target without information, as in `SelectiveAmnesia`. The published rate of 1e-4 is too
    low for a run of one epoch over the forget set.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.
        eta: the margin, at least 0.
        form: of lambda, "cosine" or "bome", as in `gsu_jax.surgery.rules.barrier`.
        inner_steps: K.
        inner_rate: the learning rate of the inner steps.

    Raises:
        ValueError: a setting is outside its range or its choices.

    Example:
        >>> EraseDiff(eta=-1.0)
        Traceback (most recent call last):
        ValueError: eta must be at least 0, got -1.0

    References:
        Wu et al., `Erasing Undesirable Influence in Diffusion Models
        <https://arxiv.org/abs/2401.05779>`_, 2025.
    """

    name: ClassVar[str] = "erasediff"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood")
    instead: ClassVar[tuple[str, ...]] = ("denoise",)

    learning_rate: float = 1e-3
    eta: float = 0.1
    form: Literal["cosine", "bome"] = "cosine"
    inner_steps: int = 0
    inner_rate: float = 1e-4

    def __post_init__(self) -> None:
        at_least(0, eta=self.eta)
        whole(0, inner_steps=self.inner_steps)
        above(0, inner_rate=self.inner_rate)
        choice(("cosine", "bome"), form=self.form)

    def prepare(self, model, params, forget, retain, key) -> Params:
        """Returns theta*."""
        return params

    def gradients(self, model, prepared: Params, params, batch, key) -> StepGradients:
        """Returns q and r."""

        def noise_loss(params: Params, visited: MaskedBatch, key: jax.Array) -> jax.Array:
            z_key, noise_key = jax.random.split(key)
            view, gamma = latent_view(model, visited.images, level_key(key))
            z = sample_posterior(*view.encode(prepared, visited.images), z_key)
            noise = jax.random.uniform(noise_key, visited.images.shape)
            target = noise if gamma is None else image_of_noise(z, noise, gamma)
            values = -view.log_likelihood(view.decode(params, z), target)
            return masked_mean(values, visited.mask)

        grads = forget_retain_grads(
            model.loss, params, batch.visited, batch.retain, key, forget_loss=noise_loss
        )
        if not self.inner_steps:
            return StepGradients.of(grads.forget, grads)
        noise_key, _ = jax.random.split(key)  # the key of `forget_retain_grads` for its forget loss

        def slope(params: Params) -> Params:
            return jax.grad(noise_loss)(params, batch.visited, noise_key)

        def descend(_, params: Params) -> Params:
            return jax.tree.map(
                lambda p, g: p - jnp.asarray(self.inner_rate, p.dtype) * g, params, slope(params)
            )

        inner = jax.lax.fori_loop(0, self.inner_steps, descend, params)
        q = jax.tree.map(jnp.subtract, grads.forget, slope(inner))
        return StepGradients.of(q, grads)

    def transform(self, optimizer, params, steps) -> optax.GradientTransformationExtraArgs:
        """`gsu_jax.surgery.rules.barrier`, then the optimizer."""
        return optax.chain(barrier(self.eta, form=self.form), optimizer, measure_conflict())
