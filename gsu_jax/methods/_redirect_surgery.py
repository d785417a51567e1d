"""Redirect: the decoder learns to draw retained images where it drew the forgotten ones."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.data import Count, ImageSet
from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods.ingredients import (
    MaskedBatch,
    Transport,
    find_neighbours,
    fit_transport,
    masked_mean,
)
from gsu_jax.models import (
    GenerativeModel,
    Params,
    Posteriors,
    encode_in_parts,
    kl_to_standard_normal,
    sample_posterior,
)
from gsu_jax.surgery import add_retain_gradient, forget_retain_grads, project_conflicting


class Prepared(NamedTuple):
    """The pre-trained parameters, held as a teacher, what it encodes, and the map of its latents.

    Attributes:
      teacher: theta*.
      posteriors: q*(z|x) of every forgotten image.
      transport: T.
      neighbours: q*(z|x) of the retained images nearest to the forgotten.
      hold_weight: a, how much the decoder is held there.
      scale: c.
    """

    teacher: Params
    posteriors: Posteriors
    transport: Transport
    neighbours: Posteriors
    hold_weight: jax.Array | float
    scale: jax.Array | float


@dataclass(frozen=True)
class RedirectSurgery(Method):
    """Redirects what the decoder draws for forgotten latents, by surgery against the retain loss.

    With theta* the pre-trained parameters held as a teacher, x a forgotten image and
    z ~ q*(z|x), the forget loss is

        l(theta) = -E log p(Dec*(T z) | Dec(z)) + w E[-log p(x | Dec_held(z')) + KL(q(z'|x) || p)]

    - T is the optimal transport map between two Gaussians (`fit_transport`): that of the
      forgotten latents, and that of the retained ones that receive them: all of these, so that the
      place of the forgotten is filled with the variety of the retained, and their neighbours more
      than others, in so far as those lie among the forgotten (a, of `find_neighbours`). It goes
      c^2 o (m_r - m_f) further than the mean m_r.
    - The second term, z' ~ q(z'|x), moves the encoder alone (the decoder is held in it): where the
      decoder no longer draws x, its posterior should say so as that of a retrained model does,
      instead of keeping the place where x used to be.

    Each image of a batch is in one of the two means: an eighth of them in the second.

    The retain loss holds the decoder where neighbours are drawn, which it would drag along. With
    x_n one of these and z ~ q*(z|x_n) it is

        retained training loss - a E log p(Dec*(z) | Dec(z))

    The gradient is then operated on (projected off the retain gradient r on conflict), lambda r is
    added (Ko et al. 2024), and Adam with a cosine schedule takes the step. lambda grows along the
    run: first the latents are redirected, then what that cost the retained images is repaired.

    c = min(1, max(0.3, 3 s)) with s the share of all images that is forgotten: a third or more of
    them has to be moved further and against a stronger lambda, or retained images pay for it. When
    a share p of the run is over, the forget gradient weighs c^(p - 1) as much: to Adam, which
    rescales, lambda is c times as much at the start, and at the end as it is set.

    docs/redirect.md has what was tried, with figures.

    Attributes:
      learning_rate: at the start; it falls to 0 along a cosine over the run.
      batch_size, retain_batch_size: as in `Method`; smaller ones, so more steps, do better and
        take longer.
      least_steps: a run visits fewer images a step than `batch_size` where it would otherwise have
        fewer steps than this.
      momentum: Adam's b1, with Nesterov's look ahead; 0.9 lags ten of fifty steps behind lambda.
      fitted_images: retained images at most that T is fitted to.
      overshoot: o, where c is 1; without it 1 % of the targets still are forgotten images.
      retain_weight, final_retain_weight: lambda at the first and the last step, where c is 1;
        geometric between.
      encoder_weight: w; 0 leaves the forgotten images' posteriors where they were.
      encoder_share: of a batch's images that the second term sees, and the first does not.
      held_images: neighbours' latents in a step.
      when: project on "conflict" or "always".
    """

    name: ClassVar[str] = "redirect_surgery"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood", "mean")

    learning_rate: float = 2e-3
    retain_batch_size: int | None = 64
    least_steps: int = 50
    momentum: float = 0.6
    fitted_images: int = 2048
    overshoot: float = 0.4
    retain_weight: float = 5.0
    final_retain_weight: float = 60.0
    encoder_weight: float = 8.0
    encoder_share: float = 0.125
    held_images: int = 32
    when: Literal["always", "conflict"] = "conflict"

    def __post_init__(self) -> None:
        if min(self.retain_weight, self.final_retain_weight) <= 0 or self.encoder_weight < 0:
            raise ValueError(
                "retain_weight and final_retain_weight must be above 0 and encoder_weight at least "
                f"0, found {self.retain_weight}, {self.final_retain_weight}, {self.encoder_weight}."
            )
        if not 0 < self.encoder_share < 1:
            raise ValueError(f"encoder_share must be in (0, 1), found {self.encoder_share}.")
        if self.held_images < 1:
            raise ValueError(f"held_images must be at least 1, found {self.held_images}.")

    def prepare(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet,
        retain: ImageSet,
        key: jax.Array,
    ) -> Prepared:
        """Encodes forgotten images and some retained ones (`fitted_images`); fits T to them."""
        posteriors, receiving = (
            Posteriors(*encode_in_parts(model, params, images), images.count)
            for images in (forget, retain.draw(key, self.fitted_images))
        )
        scale = self.scale(forget.count, retain.count)
        neighbours = find_neighbours(posteriors, receiving, forget.count / retain.count)
        transport = fit_transport(posteriors, receiving, neighbours, scale**2 * self.overshoot)
        near = receiving.take(neighbours.indices, neighbours.count)
        return Prepared(params, posteriors, transport, near, neighbours.weight, scale)

    def gradients(
        self, model: GenerativeModel, prepared: Prepared, params: Params, batch: Batch, key
    ) -> StepGradients:
        """The gradients of the forget and of the retain loss above, both losses in the metrics."""
        teacher, transport = prepared.teacher, prepared.transport
        mean, log_variance, _ = prepared.posteriors.take(batch.indices)
        seen = self.encoder_images(len(batch.indices))

        def forget_loss(params: Params, batch: MaskedBatch, key: jax.Array) -> jax.Array:
            decoder_key, encoder_key = jax.random.split(key)
            loss = redirect_loss(params, batch.mask[seen:], decoder_key)
            if seen:
                some = jax.tree.map(lambda x: x[:seen], batch)
                loss += self.encoder_weight * encoder_loss(params, some, encoder_key)
            return loss

        def redirect_loss(params: Params, mask: jax.Array, key: jax.Array) -> jax.Array:
            z = sample_posterior(mean[seen:], log_variance[seen:], key)
            drawn = model.mean(model.decode(teacher, transport(z)))
            return masked_mean(-model.log_likelihood(model.decode(params, z), drawn), mask)

        def encoder_loss(params: Params, batch: MaskedBatch, key: jax.Array) -> jax.Array:
            mean, log_variance = model.encode(params, batch.images)
            z = sample_posterior(mean, log_variance, key)
            decoded = model.decode(jax.lax.stop_gradient(params), z)
            log_likelihood = model.log_likelihood(decoded, batch.images)
            elbo = log_likelihood - kl_to_standard_normal(mean, log_variance)
            return -masked_mean(elbo, batch.mask)

        def retain_loss(params: Params, images: jax.Array, key: jax.Array) -> jax.Array:
            held = prepared.hold_weight * hold_loss(params, jax.random.fold_in(key, 1))
            return model.loss(params, images, key) + held

        def hold_loss(params: Params, key: jax.Array) -> jax.Array:
            choice_key, noise_key = jax.random.split(key)
            near = prepared.neighbours
            some = jax.random.randint(choice_key, (self.held_images,), 0, near.count)
            mean, log_variance, _ = near.take(some)
            z = sample_posterior(mean, log_variance, noise_key)
            drawn = model.mean(model.decode(teacher, z))
            return -model.log_likelihood(model.decode(params, z), drawn).mean()

        grads = forget_retain_grads(
            retain_loss, params, batch.visited, batch.retain, key, forget_loss=forget_loss
        )
        weight = prepared.scale ** (batch.progress - 1.0)
        updates = jax.tree.map(lambda f: (weight * f).astype(f.dtype), grads.forget)
        metrics = {"forget_loss": grads.forget_loss, "retain_loss": grads.retain_loss}
        return StepGradients(updates, grads.retain, metrics)

    def scale(self, n_forget: Count, n_retain: Count) -> jax.Array:
        """The scale c for so many images."""
        return jnp.clip(3.0 * n_forget / (n_forget + n_retain), 0.3, 1.0)

    def encoder_images(self, images: int) -> int:
        """How many of a batch's images the second term takes; the first has at least one."""
        if not self.encoder_weight:
            return 0
        return min(max(1, round(self.encoder_share * images)), images - 1)

    def default_batch_size(self, images: int, epochs: int) -> int:
        """`batch_size`, or less so that a run over a small set has its `least_steps`."""
        return max(1, min(self.batch_size, images * epochs // self.least_steps))

    def optimizer(self, steps: Count) -> optax.GradientTransformation:
        """Adam with little momentum and a cosine schedule over the run."""

        def rate(step: Count) -> jax.Array:
            return self.learning_rate / 2 * (1.0 + jnp.cos(jnp.pi * step / steps))

        return optax.adam(rate, b1=self.momentum, b2=0.9, nesterov=True)

    def transform(
        self, optimizer: optax.GradientTransformation, params: Params, steps: Count
    ) -> optax.GradientTransformationExtraArgs:
        """Surgery, the retain gradient, the optimiser."""
        growth = self.final_retain_weight / self.retain_weight

        def weight(step: Count) -> jax.Array:
            return self.retain_weight * growth ** (step / steps)

        return optax.chain(
            project_conflicting(when=self.when), add_retain_gradient(weight), optimizer
        )
