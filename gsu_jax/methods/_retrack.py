"""ReTrack: forgotten latents are taught the retained images that lie nearest to them."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.checks import at_least, at_most, whole
from gsu_jax.data import ImageSet
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import (
    MaskedBatch,
    latent_view,
    level_key,
    log_density,
    masked_mean,
    without_noise,
)
from gsu_jax.models import Params, Posteriors, encode_in_parts, sample_posterior
from gsu_jax.surgery import forget_retain_grads


class Prepared(NamedTuple):
    """What is computed once from the data.

    Attributes:
        forget: q*(z|x) of every forgotten image; of a diffusion model without noise, so that
            the means are the images.
        candidates: q*(z|x) of the retained images among which neighbors are found, the same.
        images: these retained images.
    """

    forget: Posteriors
    candidates: Posteriors
    images: ImageSet


@dataclass(frozen=True)
class ReTrack(Method):
    """Minimizes s E sum_k w_k (-log p(x_k | Dec(z))) + (1 - s) l_r.

        z ~ q*(z|x_f),    w_k = q*(z|x_k) / sum_j q*(z|x_j)

    x_1 ... x_K are the retained images whose posterior means are nearest to that of the forgotten
    image x_f. q* are the posteriors of the trained model.

    The retained part of the ELBO's reconstruction is E over x of E over z ~ q*(z|x). Where z comes
    from q*(z|x_f) instead, importance weights q*(z|x) / q*(z|x_f) give the same mean. They are
    nearly 0 except at neighbors, so K of them stand for all, and they are normalized to a sum of 1.
    The decoder learns at z what a model without x_f would draw there.

    For a diffusion model, that of the publication, z is the noisy image, q*(z|x) is the noise
    kernel N(alpha x, sigma^2 I), -log p(x_k | Dec(z)) is the squared error of the predicted noise,
    see `latent_view`, and neighbors are nearest in image space. The published s is 0.005: the first
    term is far larger than the second, because it is divided by small variances of the noise.

    What differs: neighbors are found among a sample of the retained images. A run is one epoch over
    the forget set, not 50 steps. For a VAE, neighbors are those in latent space; both terms are
    losses in nats of the same size, and s is 1/2.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.
        forget_share: s for a model with an encoder, in [0, 1].
        neighbors: K.
        candidates: the largest number of retained images among which neighbors are found. They stay
            in memory during the run.
        denoising_share: s for a diffusion model, in [0, 1].

    Raises:
        ValueError: a setting is outside its range.

    Example:
        >>> ReTrack(forget_share=2.0)
        Traceback (most recent call last):
        ValueError: forget_share must be at most 1, got 2.0

    References:
        Shi et al., `ReTrack: Data Unlearning in Diffusion Models through Redirecting the Denoising
        Trajectory <https://arxiv.org/abs/2509.13007>`_, 2026.
    """

    name: ClassVar[str] = "retrack"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood")
    instead: ClassVar[tuple[str, ...]] = ("denoise",)
    added: ClassVar[tuple[str, ...]] = ("denoising_share",)

    learning_rate: float = 1e-3
    forget_share: float = 0.5
    neighbors: int = 10
    candidates: int = 2048
    denoising_share: float = 0.005

    def __post_init__(self) -> None:
        shares = {"forget_share": self.forget_share, "denoising_share": self.denoising_share}
        at_least(0, **shares)
        at_most(1, **shares)
        whole(1, neighbors=self.neighbors, candidates=self.candidates)

    def prepare(self, model, params, forget, retain, key) -> Prepared:
        """Encodes all forgotten images and some retained ones."""
        some = retain.draw(key, self.candidates)
        view = without_noise(model, some.images.shape[1:])
        posteriors = [
            Posteriors(*encode_in_parts(view, params, images), images.count)
            for images in (forget, some)
        ]
        return Prepared(*posteriors, some)

    def gradients(self, model, prepared: Prepared, params, batch, key) -> StepGradients:
        """Returns the gradient of the loss."""
        view, gamma = latent_view(model, batch.visited.images, level_key(key))
        mean, log_variance, _ = prepared.forget.take(batch.indices)
        nearest = nearest_means(mean, prepared.candidates, self.neighbors)
        near, images = prepared.candidates.take(nearest), prepared.images.images[nearest]
        valid = prepared.candidates.is_valid[nearest]
        share = self.forget_share
        if gamma is not None:  # the noise of this step
            share = self.denoising_share
            mean, log_variance = view.encode(params, batch.visited.images)
            near = Posteriors(*jax.vmap(lambda x: view.encode(params, x), 1, 1)(images))

        def neighbor_loss(params: Params, visited: MaskedBatch, key: jax.Array) -> jax.Array:
            z = sample_posterior(mean, log_variance, key)
            densities = log_density(z[:, None], near.mean, near.log_variance)
            weights = jax.nn.softmax(jnp.where(valid, densities, -jnp.inf))
            decoded = view.decode(params, z)
            values = jax.vmap(lambda x: -view.log_likelihood(decoded, x), 1, 1)(images)
            return masked_mean((weights * values).sum(1), visited.mask)

        grads = forget_retain_grads(
            model.loss, params, batch.visited, batch.retain, key, forget_loss=neighbor_loss
        )
        updates = jax.tree.map(lambda f, r: share * f + (1 - share) * r, grads.forget, grads.retain)
        return StepGradients.of(updates, grads)


def nearest_means(mean: jax.Array, candidates: Posteriors, k: int) -> jax.Array:
    """The places `[n, k]` of the k candidates with the means nearest to each `mean` `[n, latent]`.

    Fewer than k if there are not so many; places of padding come last.
    """
    own, others = mean.astype(jnp.float32), candidates.mean.astype(jnp.float32)
    # |a - b|^2 without |a|^2, which orders nothing. TF32 of a GPU would confuse near neighbors.
    products = jnp.matmul(own, others.T, precision="highest")
    distances = jnp.square(others).sum(-1) - 2 * products
    distances = jnp.where(candidates.is_valid, distances, jnp.inf)
    return jax.lax.top_k(-distances, min(k, len(candidates.mean)))[1]
