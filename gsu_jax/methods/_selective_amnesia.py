"""Selective amnesia: noise replaces forgotten images; a Fisher penalty holds the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.checks import at_least, whole
from gsu_jax.curvature import mean_squared_gradient
from gsu_jax.data import ImageSet
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import (
    MaskedBatch,
    has_latents,
    latent_view,
    level_key,
    masked_mean,
    over_masked,
    resolve_guide,
)
from gsu_jax.models import GenerativeModel, Loss, Params, sample_posterior


class Prepared(NamedTuple):
    """What is computed once from the data.

    Attributes:
        teacher: theta*, the trained parameters.
        fisher: F, a tree as theta*.
        guide: `images -> [n]`, probabilities that images show what is to be forgotten.
        replay: samples of theta*, from which every step draws; None if a step samples anew.
    """

    teacher: Params
    fisher: Params
    guide: jax.tree_util.Partial
    replay: jax.Array | None = None


@dataclass(frozen=True)
class SelectiveAmnesia(Method):
    """Continual learning in reverse: the model learns noise in place of forgotten images.

        -E log p(u | Dec(z)) + gamma E l(theta; x) + lambda sum_i F_i (theta_i - theta*_i)^2

    - u, images of uniform noise, replace the forgotten images: they are drawn for z ~ q*(z|x_f),
      the latents that theta* gives the visited images.
    - Replay: x = Dec*(z), z ~ N(0, I), are samples of theta*. Only the samples that the guide takes
      for retained images count. No retained image enters a step.
    - F_i is the mean squared derivative of l at each of many samples of theta*.

    For a diffusion model z is the noisy image, -log p(u | Dec(z)) is the squared error of the noise
    that the denoiser predicts, see `latent_view`, and l in F is the bound. A step of the sampler is
    a pass of the network, so the samples are drawn once, those of F, and every step replays some.

    What differs: the published models are conditional, and a condition says what is forgotten. Here
    latents of forgotten images, or noisy ones, say it for the noise, and a classifier, the guide,
    says it for replay. The authors take 10,000 steps and 50,000 samples for F. A run here is one
    epoch over the forget set, 27 steps on MNIST {1, 3, 8}, at ten times their learning rate.

    Attributes:
        learning_rate: of Adam; with the published 1e-4 one epoch hardly forgets.
        batch_size: of both terms; the published 256.
        retain_batch_size, label: as in `Method`.
        replay_weight: gamma.
        fisher_weight: lambda.
        fisher_samples: the number of samples of theta* in the mean F.
        guide: `images -> [n]` probabilities; None trains one.

    Raises:
        ValueError: a weight is below 0, or `fisher_samples` is below 1.

    Example:
        >>> SelectiveAmnesia(fisher_samples=0)
        Traceback (most recent call last):
        ValueError: fisher_samples must be at least 1, got 0

    References:
        Heng & Soh, `Selective Amnesia: A Continual Learning Approach to Forgetting in Deep
        Generative Models <https://arxiv.org/abs/2305.10120>`_, 2023.
    """

    name: ClassVar[str] = "selective_amnesia"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood")
    instead: ClassVar[tuple[str, ...]] = ("denoise",)

    learning_rate: float = 1e-3
    batch_size: int = 256
    replay_weight: float = 1.0
    fisher_weight: float = 100.0
    fisher_samples: int = 2048
    guide: Callable[[jax.Array], jax.Array] | None = None

    def __post_init__(self) -> None:
        at_least(0, replay_weight=self.replay_weight, fisher_weight=self.fisher_weight)
        whole(1, fisher_samples=self.fisher_samples)

    def prepare(self, model, params, forget, retain, key) -> Prepared:
        """Trains the guide unless one is given, and computes F from samples of theta*."""
        guide_key, sample_key, fisher_key = jax.random.split(key, 3)
        samples = model.sample(params, sample_key, self.fisher_samples)
        fisher = mean_squared_gradient(bound_of(model), params, ImageSet.of(samples), fisher_key)
        guide = resolve_guide(self.guide, forget, retain, guide_key)
        return Prepared(params, fisher, guide, None if has_latents(model) else samples)

    def gradients(self, model, prepared: Prepared, params, batch, key) -> StepGradients:
        """Returns the gradient of the loss; the penalty adds 2 lambda F (theta - theta*)."""
        teacher, fisher, guide, replay = prepared
        z_key, noise_key, sample_key, replay_key = jax.random.split(key, 4)
        images, mask = batch.visited
        view, _ = latent_view(model, images, level_key(key))
        z = sample_posterior(*view.encode(teacher, images), z_key)
        noise = jax.random.uniform(noise_key, images.shape)
        if replay is None:
            replayed = model.sample(teacher, sample_key, len(mask))
        else:
            replayed = replay[jax.random.randint(sample_key, (len(mask),), 0, len(replay))]
        replayed = MaskedBatch(replayed, (guide(replayed) < 0.5).astype(jnp.float32))

        def loss(params: Params) -> tuple[jax.Array, dict[str, jax.Array]]:
            surrogate = masked_mean(-view.log_likelihood(view.decode(params, z), noise), mask)
            replay = over_masked(model.loss, model)(params, replayed, replay_key)
            metrics = {"forget_loss": surrogate, "retain_loss": replay}
            return surrogate + self.replay_weight * replay, metrics

        grads, metrics = jax.grad(loss, has_aux=True)(params)
        weight = 2.0 * self.fisher_weight
        updates = jax.tree.map(
            lambda g, f, theta, trained: g + (weight * f * (theta - trained)).astype(g.dtype),
            grads, fisher, params, teacher,
        )  # fmt: skip
        return StepGradients(updates, None, metrics)


def bound_of(model: GenerativeModel) -> Loss:
    """Minus the bound of the likelihood: the loss of a VAE, the `elbo` of a model that has one."""
    bound = model.elbo
    if bound is None or has_latents(model):
        return model.loss
    return lambda params, images, key: -bound(params, images, key).mean()
