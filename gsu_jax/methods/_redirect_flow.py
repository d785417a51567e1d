"""Redirect along the heat flow, and ascend to where a retrained model would be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsu_jax.checks import above, at_least, choice, whole
from gsu_jax.data import Count
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import (
    MaskedBatch,
    heat_flow,
    imitation_loss,
    masked_mean,
    retrained_gap,
    train_latent_guide,
)
from gsu_jax.models import (
    Params,
    Posteriors,
    elbo_terms,
    encode_in_parts,
    kl_to_standard_normal,
    sample_posterior,
)
from gsu_jax.surgery import add_retain_gradient, forget_retain_grads, project_conflicting

LossAndRho = tuple[jax.Array, jax.Array]
STILL_DESCRIBED = 0.5  # a run that ends with a larger rho says so


class Effort(NamedTuple):
    """How much work a run does.

    Attributes:
        rehearsal_steps: of the rehearsal (`retrained_gap`).
        compared: images of each set that it compares.
        guide_steps: of the training of the guide h.
        latents: of the prior that are moved by T once, before the first step.
        least_steps: the batch size shrinks until a run has this many steps.
    """

    rehearsal_steps: int
    compared: int
    guide_steps: int
    latents: int
    least_steps: int


EFFORTS = {
    "fast": Effort(rehearsal_steps=150, compared=64, guide_steps=150, latents=4096, least_steps=50),
    "full": Effort(
        rehearsal_steps=1000, compared=256, guide_steps=300, latents=8192, least_steps=100
    ),
}


class Prepared(NamedTuple):
    """What is computed once from the data.

    Attributes:
        teacher: theta*, the trained parameters.
        gap: g, in nats.
        z: `[latents, latent]`, draws of the prior.
        moved: T z.
        cumulative: `[latents]`, cumulative probabilities with which a step draws them.
    """

    teacher: Params
    gap: jax.Array
    z: jax.Array
    moved: jax.Array
    cumulative: jax.Array


@dataclass(frozen=True)
class RedirectFlow(Method):
    """Draws along the heat flow, and describes forgotten images as a retrained model would.

    With theta* the trained parameters, T the map of `heat_flow`, x a forgotten image and L(x) its
    ELBO, the forget loss is

        l(theta) = E_{z ~ N(0, I)} -log p(Dec*(T z) | Dec(z))  +  w (g / 4) Huber(4 rho)

        rho = (mean L(x) - mean L*(x) + g) / g,   Huber(s) = s^2 / 2 for |s| < 1, |s| - 1/2 beyond

    - First term, what is drawn: T carries the prior to the latents of retained images and moves
      each latent as little as it can. The images that the decoder should draw have the retained
      shares, and no retained latent lies at the edge of a jump.
    - Second term, what is described: gradient ascent that ends where a retrained model would be.
      g is how many nats worse such a model would describe the forgotten images. A rehearsal
      estimates it (`retrained_gap`). rho falls from 1, the trained model, to 0; below 0 the term
      pulls back, so that no image is described suspiciously badly.

    The gradient of the second term reaches the decoder alone. The encoder follows the changed
    decoder by w L(x) with the decoder fixed, since otherwise it alone would seem to forget.

    On conflict this gradient is projected off the retain gradient r, the gradient of the training
    loss on retained images; then lambda r is added, and Adam takes the step.

    Attributes:
        learning_rate: at the start; it falls to 0 along a cosine.
        batch_size, retain_batch_size, label: as in `Method`.
        effort: "full", or "fast" with about a third of the time and a rough estimate of g.
        momentum: Adam's b1, with Nesterov momentum.
        margin: added to the guide's log odds, in nats. A larger one draws less of what is forgotten
            and raises FID.
        described_weight: w.
        described_gap: g in nats, if it is known; None estimates it.
        retain_weight: lambda.
        drawn: latents of the prior in a step.
        emphasis: a latent is drawn in proportion to 1 + emphasis |T z - z| / mean |T z - z|.
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
    effort: Literal["fast", "full"] = "full"
    momentum: float = 0.6
    margin: float = 1.0
    described_weight: float = 0.3
    described_gap: float | None = None
    retain_weight: float = 1.0
    drawn: int = 128
    emphasis: float = 2.0
    fitted_images: int = 8192
    when: Literal["always", "conflict"] = "conflict"

    def __post_init__(self) -> None:
        above(0, retain_weight=self.retain_weight)
        at_least(0, described_weight=self.described_weight, emphasis=self.emphasis)
        whole(1, drawn=self.drawn, fitted_images=self.fitted_images)
        choice(EFFORTS, effort=self.effort)
        choice(("always", "conflict"), when=self.when)
        if self.described_gap is not None:
            above(0, described_gap=self.described_gap)

    def prepare(self, model, params, forget, retain, key) -> Prepared:
        """Estimates g, trains the guide on posteriors of both sets and moves draws of the prior."""
        forget_key, retain_key, guide_key, prior_key, gap_key = jax.random.split(key, 5)
        effort = EFFORTS[self.effort]
        described, kept = (
            Posteriors(*encode_in_parts(model, params, some), some.count)
            for some in (
                forget.draw(forget_key, self.fitted_images),
                retain.draw(retain_key, self.fitted_images),
            )
        )
        odds = forget.count / retain.count
        guide = train_latent_guide(described, kept, odds, guide_key, steps=effort.guide_steps)
        shape = effort.latents, described.mean.shape[-1]
        z = jax.random.normal(prior_key, shape, described.mean.dtype)
        moved = heat_flow(guide.harder(self.margin), z)
        distances = jnp.linalg.norm((moved - z).astype(jnp.float32), axis=-1)
        weights = 1.0 + self.emphasis * distances / jnp.maximum(distances.mean(), 1e-6)
        cumulative = jnp.cumsum(weights / weights.sum())
        gap = self.described_gap or 0.0
        if self.described_gap is None and self.described_weight:
            rehearsal = {"steps": effort.rehearsal_steps, "compared": effort.compared}
            gap = retrained_gap(model, params, forget, retain, gap_key, **rehearsal)
        return Prepared(params, jnp.asarray(gap, jnp.float32), z, moved, cumulative)

    def gradients(self, model, prepared: Prepared, params, batch, key) -> StepGradients:
        """Returns the gradients of the forget loss and of the training loss of retained images."""
        teacher, gap = prepared.teacher, jnp.maximum(prepared.gap, 1e-3)

        def forget_loss(params: Params, batch: MaskedBatch, key: jax.Array) -> LossAndRho:
            drawn_key, described_key = jax.random.split(key)
            drawn = drawn_loss(params, drawn_key)
            if not self.described_weight:
                return drawn, jnp.ones(())
            described, rho = described_loss(params, batch, described_key)
            return drawn + self.described_weight * described, rho

        def retain_loss(params: Params, batch: jax.Array, key: jax.Array) -> LossAndRho:
            return model.loss(params, batch, key), jnp.zeros(())

        def drawn_loss(params: Params, key: jax.Array) -> jax.Array:
            levels = jax.random.uniform(key, (self.drawn,))
            some = jnp.searchsorted(prepared.cumulative, levels).clip(max=len(prepared.z) - 1)
            z, moved = prepared.z[some], prepared.moved[some]
            return imitation_loss(model, params, z, teacher, moved).mean()

        def described_loss(params: Params, batch: MaskedBatch, key: jax.Array) -> LossAndRho:
            mean, log_variance = model.encode(params, batch.images)
            z = sample_posterior(mean, log_variance, key)
            fixed_decoder = jax.lax.stop_gradient(params)
            elbo = model.log_likelihood(model.decode(fixed_decoder, z), batch.images)
            elbo -= kl_to_standard_normal(mean, log_variance)
            before = elbo_terms(model, teacher, batch.images, key)
            rho = masked_mean(elbo + before.reconstruction + before.kl, batch.mask) / gap + 1.0
            slope = jax.lax.stop_gradient(jnp.clip(4.0 * rho, -1.0, 1.0))  # of the Huber loss
            decoded = model.decode(params, jax.lax.stop_gradient(z))
            ascent = slope * model.log_likelihood(decoded, batch.images)
            return masked_mean(ascent - elbo, batch.mask), rho

        grads = forget_retain_grads(
            retain_loss, params, *(batch.visited, batch.retain, key),
            forget_loss=forget_loss, has_aux=True,
        )  # fmt: skip
        step = StepGradients.of(grads.forget, grads)
        if self.described_weight:
            step.metrics.update(described_gap=prepared.gap, rho=grads.forget_aux)
        return step

    def shortfall(self, history: Mapping[str, np.ndarray]) -> str:
        """Says if g was not found, or if a run ended far from it."""
        if "rho" not in history or not len(history["rho"]):
            return ""
        gap = float(history["described_gap"][-1])
        if gap <= 0.0:
            return (
                "the rehearsal found no gap (g = 0 nats), so forgotten images are described as "
                "before: the model does not describe them better than a short training without "
                "them, or that training failed. Give described_gap=, from one retrained model"
            )
        left = float(np.mean(history["rho"][-max(1, len(history["rho"]) // 10) :]))
        if left <= STILL_DESCRIBED:
            return ""
        return (
            f"{left:.0%} of the gap to a retrained model (g = {gap:.3g} nats) is left: the model "
            "still describes forgotten images. Give more epochs, or a larger described_weight"
        )

    def default_batch_size(self, images: int, epochs: int) -> int:
        """`batch_size`, or less so that a run over a small set has enough steps."""
        return max(1, min(self.batch_size, images * epochs // EFFORTS[self.effort].least_steps))

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
