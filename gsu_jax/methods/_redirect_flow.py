"""Redirect along the heat flow: a smooth map of all latents, so that no neighbor is dragged."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import above, at_least, choice
from gsu_jax.data import Count
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import (
    LatentGuide,
    MaskedBatch,
    heat_flow,
    imitation_loss,
    masked_mean,
    train_latent_guide,
)
from gsu_jax.models import (
    Params,
    Posteriors,
    encode_in_parts,
    kl_to_standard_normal,
    sample_posterior,
)
from gsu_jax.surgery import add_retain_gradient, forget_retain_grads, project_conflicting


class Prepared(NamedTuple):
    """What is computed once from the data.

    Attributes:
        teacher: theta*, the trained parameters.
        guide: the log odds h_t(z) that a latent is that of a forgotten image, with margin m'.
        z: `[latents, latent]`, draws of the prior.
        moved: T z.
        cumulative: `[latents]`, cumulative probabilities with which a step draws them.
    """

    teacher: Params
    guide: LatentGuide
    z: jax.Array
    moved: jax.Array
    cumulative: jax.Array


@dataclass(frozen=True)
class RedirectFlow(Method):
    """Trains the decoder to draw, at every latent, what the trained one draws along the heat flow.

    With theta* the trained parameters, T and T' the maps of `heat_flow` with the margins m and m',
    and x a forgotten image, the forget loss is

        l(theta) =   E_{z ~ N(0, I)} -log p(Dec*(T z) | Dec(z))
                   + w E_{z ~ q_fixed(z|x)} -log p(Dec*(T' z) | Dec(z))
                   + w E_{z ~ q(z|x)} [-log p(x | Dec_fixed(z)) + KL(q(z|x) || p)]

    - First term, what is drawn: T carries the prior to the latents of retained images and moves
      each latent as little as it can. The images that the decoder should draw have the retained
      shares, and no retained latent lies at the edge of a jump.
    - Second term, what is described: at the latents by which the model describes forgotten images
      it draws retained ones too. q is the model's own encoder, which moves with it. The margin m'
      is larger: by the margin m alone a forgotten image keeps most of its likelihood, because the
      heat flow leaves it a thin seam of latents.
    - Third term: the encoder alone follows the changed decoder.

    On conflict this gradient is projected off the retain gradient r, the gradient of the training
    loss on retained images; then lambda r is added, and Adam takes the step.

    Attributes:
        learning_rate: at the start; it falls to 0 along a cosine.
        batch_size, retain_batch_size, label: as in `Method`.
        least_steps: the batch size shrinks until a run has this many steps.
        momentum: Adam's b1, with Nesterov momentum.
        margin: m, in nats of log odds. A larger one forgets more surely and raises FID.
        described_margin: m'. A larger one describes forgotten images less well.
        described_weight: w.
        retain_weight: lambda.
        drawn: latents of the prior in a step.
        latents: latents of the prior that are moved by T once, before the first step.
        emphasis: a latent is drawn in proportion to 1 + emphasis |T z - z| / mean |T z - z|.
        guide_steps: of the training of the guide h.
        fitted_images: the largest number of images of each set that the guide is trained on.
        when: project on "conflict" or "always".

    Raises:
        ValueError: a setting is outside its range or its choices.

    Example:
        >>> method = RedirectFlow()
        >>> method.default_batch_size(images=6742, epochs=1), method.default_batch_size(200, 1)
        (67, 2)
    """

    name: ClassVar[str] = "redirect_flow"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood", "mean")

    learning_rate: float = 2e-3
    retain_batch_size: int | None = 64
    least_steps: int = 100
    momentum: float = 0.6
    margin: float = 1.0
    described_margin: float = 3.0
    described_weight: float = 0.3
    retain_weight: float = 1.0
    drawn: int = 128
    latents: int = 8192
    emphasis: float = 2.0
    guide_steps: int = 300
    fitted_images: int = 8192
    when: Literal["always", "conflict"] = "conflict"

    def __post_init__(self) -> None:
        above(0, retain_weight=self.retain_weight)
        at_least(0, described_weight=self.described_weight, emphasis=self.emphasis)
        at_least(1, least_steps=self.least_steps, drawn=self.drawn, latents=self.latents)
        at_least(1, guide_steps=self.guide_steps, fitted_images=self.fitted_images)
        choice(("always", "conflict"), when=self.when)

    def prepare(self, model, params, forget, retain, key) -> Prepared:
        """Trains the guide on posteriors of both sets and moves draws of the prior."""
        forget_key, retain_key, guide_key, prior_key = jax.random.split(key, 4)
        described, kept = (
            Posteriors(*encode_in_parts(model, params, some), some.count)
            for some in (
                forget.draw(forget_key, self.fitted_images),
                retain.draw(retain_key, self.fitted_images),
            )
        )
        odds = forget.count / retain.count
        guide = train_latent_guide(described, kept, odds, guide_key, steps=self.guide_steps)
        z = jax.random.normal(
            prior_key, (self.latents, described.mean.shape[-1]), described.mean.dtype
        )
        moved = heat_flow(guide.harder(self.margin), z)
        distances = jnp.linalg.norm((moved - z).astype(jnp.float32), axis=-1)
        weights = 1.0 + self.emphasis * distances / jnp.maximum(distances.mean(), 1e-6)
        cumulative = jnp.cumsum(weights / weights.sum())
        return Prepared(params, guide.harder(self.described_margin), z, moved, cumulative)

    def gradients(self, model, prepared: Prepared, params, batch, key) -> StepGradients:
        """Returns the gradients of the forget loss and of the training loss of retained images."""
        teacher = prepared.teacher

        def forget_loss(params: Params, batch: MaskedBatch, key: jax.Array) -> jax.Array:
            drawn_key, described_key = jax.random.split(key)
            loss = drawn_loss(params, drawn_key)
            if self.described_weight:
                loss += self.described_weight * described_loss(params, batch, described_key)
            return loss

        def drawn_loss(params: Params, key: jax.Array) -> jax.Array:
            levels = jax.random.uniform(key, (self.drawn,))
            some = jnp.searchsorted(prepared.cumulative, levels).clip(max=self.latents - 1)
            z, moved = prepared.z[some], prepared.moved[some]
            return imitation_loss(model, params, z, teacher, moved).mean()

        def described_loss(params: Params, batch: MaskedBatch, key: jax.Array) -> jax.Array:
            mean, log_variance = model.encode(params, batch.images)
            z = sample_posterior(mean, log_variance, key)
            fixed = jax.lax.stop_gradient(z)
            redirected = imitation_loss(
                model, params, fixed, teacher, heat_flow(prepared.guide, fixed)
            )
            decoded = model.decode(jax.lax.stop_gradient(params), z)
            elbo = model.log_likelihood(decoded, batch.images)
            elbo -= kl_to_standard_normal(mean, log_variance)
            return masked_mean(redirected - elbo, batch.mask)

        grads = forget_retain_grads(
            model.loss, params, batch.visited, batch.retain, key, forget_loss=forget_loss
        )
        return StepGradients.of(grads.forget, grads)

    def default_batch_size(self, images: int, epochs: int) -> int:
        """`batch_size`, or less so that a run over a small set has `least_steps` steps."""
        return max(1, min(self.batch_size, images * epochs // self.least_steps))

    def optimizer(self, steps) -> optax.GradientTransformation:
        """Adam with low momentum and a cosine schedule over the run."""

        def rate(step: Count) -> jax.Array:
            return self.learning_rate / 2 * (1.0 + jnp.cos(jnp.pi * step / steps))

        return optax.adam(rate, b1=self.momentum, b2=0.9, nesterov=True)

    def transform(self, optimizer, params, steps) -> optax.GradientTransformationExtraArgs:
        """Surgery, the weighted retain gradient, the optimizer."""
        return optax.chain(
            project_conflicting(when=self.when), add_retain_gradient(self.retain_weight), optimizer
        )
