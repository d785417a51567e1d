"""SalUn: forgetting that moves the salient weights alone."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.data import Count, ImageSet
from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods.ingredients import MaskedBatch, masked_mean, over_masked
from gsu_jax.models import GenerativeModel, Loss, Params, sample_posterior
from gsu_jax.surgery import forget_retain_grads


class Prepared(NamedTuple):
    """What is known of the trained model.

    Attributes:
      teacher: theta*.
      mask: a tree as theta*, of booleans: whether a parameter may move.
    """

    teacher: Params
    mask: Params


@dataclass(frozen=True)
class SalUn(Method):
    """Minimises -E log p(Dec*(z_r) | Dec(z_f)) + beta l_r in the salient parameters alone.

        m_i = 1 where |sum_{x in D_f} d l(theta*; x) / d theta_i| is in the top half, else 0
        theta <- theta + m * step

    z_f = mean + sigma epsilon is drawn from the posterior q*(z|x_f) of a forgotten image, z_r from
    that of a retained one, paired with it at random, with the same epsilon: where it drew what is
    to be forgotten, the decoder learns to draw other images. theta* gives the posteriors and
    Dec*(z_r), the mean image. The mask is on the step that the optimiser makes: on the gradient,
    momentum and weight decay would move the others all the same.

    Fan et al. 2024 (https://arxiv.org/abs/2310.12508). What differs: the published losses are for
    classifiers (random labels) and conditional diffusion (the noise predicted for another class);
    here posteriors stand for the conditions. A run is one epoch over D_f, for which the published
    rate of 1e-4 is too low.

    Attributes:
      learning_rate, batch_size, retain_batch_size: as in `Method`.
      retain_weight: beta.
      share: of the parameters that may move; one without any gradient does not.
    """

    name: ClassVar[str] = "salun"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood", "mean")

    learning_rate: float = 1e-3
    retain_weight: float = 1.0
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.retain_weight < 0:
            raise ValueError(f"retain_weight must be at least 0, found {self.retain_weight}.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], found {self.share}.")

    def prepare(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet,
        retain: ImageSet,
        key: jax.Array,
    ) -> Prepared:
        """The teacher, and the mask from all forgotten images."""
        grads = whole_gradient(model.loss, params, forget, key, self.batch_size)
        return Prepared(params, largest_share(grads, self.share))

    def gradients(
        self, model: GenerativeModel, prepared: Prepared, params: Params, batch: Batch, key
    ) -> StepGradients:
        """The gradient of the loss above; the mask goes to the optimiser with it."""
        teacher = prepared.teacher

        def paired_loss(params: Params, batch_: MaskedBatch, key: jax.Array) -> jax.Array:
            pair_key, noise_key = jax.random.split(key)
            images, mask = batch_
            pairs = jax.random.randint(pair_key, (len(mask),), 0, len(batch.retain))
            z, paired_z = (
                sample_posterior(*model.encode(teacher, x), noise_key)
                for x in (images, batch.retain[pairs])
            )
            target = model.mean(model.decode(teacher, paired_z))
            return masked_mean(-model.log_likelihood(model.decode(params, z), target), mask)

        grads = forget_retain_grads(
            model.loss, params, batch.visited, batch.retain, key, forget_loss=paired_loss
        )
        updates = jax.tree.map(lambda f, r: f + self.retain_weight * r, grads.forget, grads.retain)
        metrics = {"forget_loss": grads.forget_loss, "retain_loss": grads.retain_loss}
        return StepGradients(updates, grads.retain, metrics, {"mask": prepared.mask})

    def transform(
        self, optimizer: optax.GradientTransformation, params: Params, steps: Count
    ) -> optax.GradientTransformationExtraArgs:
        """The optimiser, then the mask."""
        return optax.chain(optimizer, mask_steps())


def mask_steps() -> optax.GradientTransformationExtraArgs:
    """Keeps the steps where `update(..., mask=)`, a tree of booleans, is true; 0 elsewhere."""

    def update(updates, state, params=None, *, mask, **extra_args):
        del params, extra_args
        return jax.tree.map(lambda m, u: jnp.where(m, u, 0), mask, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def whole_gradient(
    loss: Loss, params: Params, images: ImageSet, key: jax.Array, batch_size: int
) -> Params:
    """The gradient of the mean of `loss` over all images, in batches: memory stays bounded."""
    chunks, batch_size = images.chunks(batch_size)

    def add(number: jax.Array, total: Params) -> Params:
        batch = MaskedBatch(*images.chunk(number, batch_size))
        grads = jax.grad(over_masked(loss))(params, batch, jax.random.fold_in(key, number))
        share = batch.mask.sum() / images.count
        return jax.tree.map(lambda t, g: t + share * g, total, grads)

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
    return jax.lax.fori_loop(0, chunks, add, zeros)


def largest_share(tree: Params, share: float) -> Params:
    """True at the given share of all entries of `tree`, the largest by size, but at no zero."""
    sizes = jnp.sort(jnp.concatenate([jnp.abs(leaf).ravel() for leaf in jax.tree.leaves(tree)]))
    least = sizes[len(sizes) - max(1, round(share * len(sizes)))]
    return jax.tree.map(lambda leaf: (jnp.abs(leaf) >= least) & (leaf != 0), tree)
