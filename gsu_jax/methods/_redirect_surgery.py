"""Redirect: the decoder learns to map the latents of forgotten images to retained images."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import above, at_least, between, choice, whole
from gsu_jax.data import Count
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import (
    MaskedBatch,
    Transport,
    find_neighbors,
    fit_transport,
    imitation_loss,
    masked_mean,
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
        posteriors: q*(z|x) of every forgotten image.
        transport: T.
        neighbors: q*(z|x) of the retained images nearest to the forgotten ones.
        hold_weight: a, the weight of the loss that holds the decoder there.
        scale: c.
    """

    teacher: Params
    posteriors: Posteriors
    transport: Transport
    neighbors: Posteriors
    hold_weight: jax.Array | float
    scale: jax.Array | float


@dataclass(frozen=True)
class RedirectSurgery(Method):
    """Trains the decoder to map forgotten latents to retained images.

    Gradient surgery protects the retain loss.

    With theta* the trained parameters, x a forgotten image and z ~ q*(z|x), the forget loss is

        l(theta) = -E log p(Dec*(T z) | Dec(z)) + w E[-log p(x | Dec_fixed(z')) + KL(q(z'|x) || p)]

    with p = N(0, I) the prior and w the setting `encoder_weight`.

    - First term: T is the optimal transport map (`fit_transport`) from the forgotten latents to the
      retained latents that receive them, both as Gaussians. All retained latents receive; the
      neighbors of the forgotten ones weigh more, by the share a to which both sets overlap
      (`find_neighbors`). T goes c^2 o (m_r - m_f) past the mean m_r of the retained latents, with
      m_f the mean of the forgotten ones and o the setting `overshoot`.
    - Second term: z' ~ q(z'|x) trains the encoder alone, with the decoder fixed. Once the
      decoder cannot reconstruct x, the posterior of x should become that of a retrained model.

    An eighth of a batch is in the second term, the rest is in the first.

    The retain loss also holds the decoder at the neighbors, which redirecting would drag along.
    With x_n a neighbor and z ~ q*(z|x_n) it is

        retained training loss - a E log p(Dec*(z) | Dec(z))

    On conflict the forget gradient is projected off the retain gradient r; then lambda r is added,
    and Adam takes the step with b1 = `momentum`, b2 = 0.9 and a cosine schedule. lambda grows
    during the run: the first steps redirect, the last steps repair.

    c = min(1, max(0.3, 3 s)), with s the forgotten share of all images. A larger share has to move
    further and against a stronger lambda, or the retained images change too. After a share t of the
    run the forget gradient is multiplied by c^(t - 1). Adam rescales, so this starts lambda at c
    times its value and ends at the full value.

    docs/methods/redirect_surgery.md has the measurements behind these choices.

    Attributes:
        learning_rate: at the start; it falls to 0 along a cosine.
        batch_size, retain_batch_size, label: as in `Method`; smaller batches, so more steps, do
            better and take longer.
        least_steps: the batch size shrinks until a run has this many steps.
        momentum: Adam's b1, with Nesterov momentum; 0.9 would lag behind lambda.
        fitted_images: the largest number of retained images that T is fitted to.
        overshoot: o, for c = 1; without it 1 % of the targets are still forgotten images.
        retain_weight, final_retain_weight: lambda at the first and at the last step, for c = 1;
            geometric between.
        encoder_weight: w; 0 leaves the posteriors of forgotten images as they are.
        encoder_share: the share of a batch in the second term, in (0, 1).
        held_images: the number of neighbors in a step.
        when: project on "conflict" or "always".

    Raises:
        ValueError: a setting is outside its range or its choices.

    Example:
        >>> method = RedirectSurgery()
        >>> method.default_batch_size(images=6742, epochs=1), method.default_batch_size(200, 1)
        (128, 4)

    References:
        Ko et al., `Boosting Alignment for Post-Unlearning Text-to-Image Generative Models
        <https://arxiv.org/abs/2412.07808>`_, 2024, for the added lambda r.
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
        above(0, retain_weight=self.retain_weight, final_retain_weight=self.final_retain_weight)
        at_least(0, encoder_weight=self.encoder_weight)
        between(0, 1, encoder_share=self.encoder_share)
        whole(1, held_images=self.held_images, least_steps=self.least_steps)
        choice(("always", "conflict"), when=self.when)

    def prepare(self, model, params, forget, retain, key) -> Prepared:
        """Encodes all forgotten images and some retained ones, and fits T to them."""
        posteriors, receiving = (
            Posteriors(*encode_in_parts(model, params, images), images.count)
            for images in (forget, retain.draw(key, self.fitted_images))
        )
        scale = self.scale(forget.count, retain.count)
        neighbors = find_neighbors(posteriors, receiving, forget.count / retain.count)
        transport = fit_transport(posteriors, receiving, neighbors, scale**2 * self.overshoot)
        near = receiving.take(neighbors.indices, neighbors.count)
        return Prepared(params, posteriors, transport, near, neighbors.weight, scale)

    def gradients(self, model, prepared: Prepared, params, batch, key) -> StepGradients:
        """Returns the gradients of the forget loss and of the retain loss."""
        teacher, transport = prepared.teacher, prepared.transport
        mean, log_variance, _ = prepared.posteriors.take(batch.indices)
        n_encoder = self.encoder_images(len(batch.indices))

        def forget_loss(params: Params, batch: MaskedBatch, key: jax.Array) -> jax.Array:
            decoder_key, encoder_key = jax.random.split(key)
            loss = redirect_loss(params, batch.mask[n_encoder:], decoder_key)
            if n_encoder:
                some = jax.tree.map(lambda x: x[:n_encoder], batch)
                loss += self.encoder_weight * encoder_loss(params, some, encoder_key)
            return loss

        def redirect_loss(params: Params, mask: jax.Array, key: jax.Array) -> jax.Array:
            z = sample_posterior(mean[n_encoder:], log_variance[n_encoder:], key)
            return masked_mean(imitation_loss(model, params, z, teacher, transport(z)), mask)

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
            near = prepared.neighbors
            some = jax.random.randint(choice_key, (self.held_images,), 0, near.count)
            mean, log_variance, _ = near.take(some)
            z = sample_posterior(mean, log_variance, noise_key)
            return imitation_loss(model, params, z, teacher, z).mean()

        grads = forget_retain_grads(
            retain_loss, params, batch.visited, batch.retain, key, forget_loss=forget_loss
        )
        weight = prepared.scale ** (batch.progress - 1.0)
        updates = jax.tree.map(lambda f: (weight * f).astype(f.dtype), grads.forget)
        return StepGradients.of(updates, grads)

    def scale(self, n_forget: Count, n_retain: Count) -> jax.Array:
        """The scale c for sets of these sizes."""
        return jnp.clip(3.0 * n_forget / (n_forget + n_retain), 0.3, 1.0)

    def encoder_images(self, images: int) -> int:
        """The number of a batch's images in the second term; the first term gets at least one."""
        if not self.encoder_weight:
            return 0
        return min(max(1, round(self.encoder_share * images)), images - 1)

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
        growth = self.final_retain_weight / self.retain_weight

        def weight(step: Count) -> jax.Array:
            return self.retain_weight * growth ** (step / steps)

        return optax.chain(
            project_conflicting(when=self.when), add_retain_gradient(weight), optimizer
        )
