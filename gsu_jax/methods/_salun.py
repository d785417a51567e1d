"""SalUn: only the parameters that matter most to the forgotten images are trained."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import above, at_least, at_most
from gsu_jax.data import ImageSet
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import (
    MaskedBatch,
    imitation_loss,
    latent_view,
    level_key,
    masked_mean,
    over_masked,
)
from gsu_jax.models import GenerativeModel, Loss, Params, sample_posterior
from gsu_jax.surgery import forget_retain_grads


class Prepared(NamedTuple):
    """What is computed once from the data.

    Attributes:
        teacher: theta*, the trained parameters.
        mask: a tree as theta*, of booleans: whether a parameter may move.
    """

    teacher: Params
    mask: Params


@dataclass(frozen=True)
class SalUn(Method):
    """Minimizes -E log p(Dec*(z_r) | Dec(z_f)) + beta l_r in the salient parameters alone.

        m_i = 1 if |sum_{x in D_f} d l(theta*; x) / d theta_i| is in the top half, else 0
        theta <- theta + m * step

    z_f = mean + sigma epsilon is drawn from the posterior q*(z|x_f) of a forgotten image, and z_r
    from that of a random retained image, with the same epsilon. The decoder learns to draw retained
    images at forgotten latents. theta* gives the posteriors and the mean image Dec*(z_r).

    The mask acts on the step of the optimizer. If it acted on the gradient, momentum and weight
    decay would still move the other parameters.

    For a diffusion model z_f and z_r are noisy images, of one noise level and one epsilon. The
    denoiser learns at z_f the image that the trained one draws at z_r; the loss is that of the
    noise it predicts, see `latent_view`.

    What differs: the published losses are for classifiers (random labels) and conditional diffusion
    (the noise predicted for another class). Here there are no labels: posteriors, or noisy images,
    take the place of conditions. A run is one epoch over D_f, for which the published rate of 1e-4
    is too low.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.
        retain_weight: beta.
        share: the share of parameters that may move; one without any gradient does not.

    Raises:
        ValueError: `retain_weight` is below 0, or `share` is not in (0, 1].

    Example:
        >>> SalUn(share=0.0)
        Traceback (most recent call last):
        ValueError: share must be above 0, got 0.0

    References:
        Fan et al., `SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency in Both
        Image Classification and Generation <https://arxiv.org/abs/2310.12508>`_, 2024.
    """

    name: ClassVar[str] = "salun"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood", "mean")
    instead: ClassVar[tuple[str, ...]] = ("denoise",)

    learning_rate: float = 1e-3
    retain_weight: float = 1.0
    share: float = 0.5

    def __post_init__(self) -> None:
        at_least(0, retain_weight=self.retain_weight)
        above(0, share=self.share)
        at_most(1, share=self.share)

    def prepare(self, model, params, forget, retain, key) -> Prepared:
        """Computes the mask from all forgotten images."""
        grads = whole_gradient(model.loss, params, forget, key, self.batch_size, model)
        return Prepared(params, largest_share(grads, self.share))

    def gradients(self, model, prepared: Prepared, params, batch, key) -> StepGradients:
        """Returns the gradient of the loss, with the mask for the optimizer."""
        teacher = prepared.teacher

        def paired_loss(params: Params, batch_: MaskedBatch, key: jax.Array) -> jax.Array:
            pair_key, noise_key = jax.random.split(key)
            images, mask = batch_
            view, _ = latent_view(model, images, level_key(key))
            pairs = jax.random.randint(pair_key, (len(mask),), 0, len(batch.retain))
            z, paired_z = (
                sample_posterior(*view.encode(teacher, x), noise_key)
                for x in (images, batch.retain[pairs])
            )
            return masked_mean(imitation_loss(view, params, z, teacher, paired_z), mask)

        grads = forget_retain_grads(
            model.loss, params, batch.visited, batch.retain, key, forget_loss=paired_loss
        )
        updates = jax.tree.map(lambda f, r: f + self.retain_weight * r, grads.forget, grads.retain)
        return StepGradients.of(updates, grads, {"mask": prepared.mask})

    def transform(self, optimizer, params, steps) -> optax.GradientTransformationExtraArgs:
        """The optimizer, then the mask."""
        return optax.chain(optimizer, mask_steps())


def mask_steps() -> optax.GradientTransformationExtraArgs:
    """Sets steps to 0 unless `mask`, a tree of booleans given to `update`, is true."""

    def update(updates, state, params=None, *, mask, **extra_args):
        del params, extra_args
        return jax.tree.map(lambda m, u: jnp.where(m, u, 0), mask, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def whole_gradient(
    loss: Loss,
    params: Params,
    images: ImageSet,
    key: jax.Array,
    batch_size: int,
    model: GenerativeModel | None = None,
) -> Params:
    """The gradient of the mean of `loss` over all images, a batch at a time to save memory.

    `model` is for `over_masked`.
    """
    chunks, batch_size = images.chunks(batch_size)

    def add(number: jax.Array, total: Params) -> Params:
        batch = MaskedBatch(*images.chunk(number, batch_size))
        grads = jax.grad(over_masked(loss, model))(params, batch, jax.random.fold_in(key, number))
        share = batch.mask.sum() / images.count
        return jax.tree.map(lambda t, g: t + share * g, total, grads)

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
    return jax.lax.fori_loop(0, chunks, add, zeros)


def largest_share(tree: Params, share: float) -> Params:
    """True for the given share of the entries of `tree`, the largest by size; never for a zero."""
    sizes = jnp.sort(jnp.concatenate([jnp.abs(leaf).ravel() for leaf in jax.tree.leaves(tree)]))
    least = sizes[len(sizes) - max(1, round(share * len(sizes)))]
    return jax.tree.map(lambda leaf: (jnp.abs(leaf) >= least) & (leaf != 0), tree)
