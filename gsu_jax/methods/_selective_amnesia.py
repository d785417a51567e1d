"""Selective amnesia: noise in place of the forgotten, replay and a Fisher penalty for the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.curvature import mean_squared_gradient
from gsu_jax.data import ImageSet
from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods.ingredients import MaskedBatch, masked_mean, over_masked, resolve_guide
from gsu_jax.models import GenerativeModel, Params, sample_posterior


class Prepared(NamedTuple):
    """What is known of the trained model.

    Attributes:
      teacher: theta*.
      fisher: F, a tree as theta*.
      guide: `images -> [n]` probabilities that they show what is to be forgotten.
    """

    teacher: Params
    fisher: Params
    guide: jax.tree_util.Partial


@dataclass(frozen=True)
class SelectiveAmnesia(Method):
    """Continual learning turned round: what is to be forgotten is learnt anew, as noise.

        -E log p(u | Dec(z)) + gamma E l(theta; x) + lambda sum_i F_i (theta_i - theta*_i)^2

    - u, uniform noise images, are the surrogate of forgotten ones: drawn for z ~ q*(z|x_f), the
      latents that theta* gives the visited images.
    - Replay: x = Dec*(z), z ~ N(0, I), are samples of theta* that the guide takes for retained
      ones; the others get no weight. No retained image enters a step.
    - F_i is the mean squared derivative of l, image by image, over samples of theta*.

    Heng & Soh 2023, without conditions. What differs: their VAE is conditional, and a condition
    says what is forgotten; here it is the latents for the surrogate, and for replay a classifier,
    the guide. They take 10,000 steps and 50,000 samples for F; a run here is one epoch over the
    forget set, 27 steps on MNIST138, and its learning rate is ten times theirs.

    Attributes:
      learning_rate: of Adam; with the published 1e-4 one epoch forgets next to nothing.
      batch_size: of both terms; the published 256.
      replay_weight: gamma.
      fisher_weight: lambda.
      fisher_samples: samples of theta* that F is a mean over, at batches of one.
      guide: where given it is used, and none is trained.
    """

    name: ClassVar[str] = "selective_amnesia"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood")

    learning_rate: float = 1e-3
    batch_size: int = 256
    replay_weight: float = 1.0
    fisher_weight: float = 100.0
    fisher_samples: int = 2048
    guide: Callable[[jax.Array], jax.Array] | None = None

    def __post_init__(self) -> None:
        if min(self.replay_weight, self.fisher_weight) < 0:
            raise ValueError(
                "replay_weight and fisher_weight must be at least 0, found "
                f"{self.replay_weight} and {self.fisher_weight}."
            )
        if self.fisher_samples < 1:
            raise ValueError(f"fisher_samples must be at least 1, found {self.fisher_samples}.")

    def prepare(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet,
        retain: ImageSet,
        key: jax.Array,
    ) -> Prepared:
        """Trains the guide, unless one is given; F over samples of the trained model."""
        guide_key, sample_key, fisher_key = jax.random.split(key, 3)
        samples = model.sample(params, sample_key, self.fisher_samples)
        fisher = mean_squared_gradient(model.loss, params, ImageSet.of(samples), fisher_key)
        return Prepared(params, fisher, resolve_guide(self.guide, forget, retain, guide_key))

    def gradients(
        self, model: GenerativeModel, prepared: Prepared, params: Params, batch: Batch, key
    ) -> StepGradients:
        """The gradient of the loss above; that of the penalty is 2 lambda F (theta - theta*)."""
        teacher, fisher, guide = prepared
        z_key, noise_key, sample_key, replay_key = jax.random.split(key, 4)
        images, mask = batch.visited
        z = sample_posterior(*model.encode(teacher, images), z_key)
        noise = jax.random.uniform(noise_key, images.shape)
        replayed = model.sample(teacher, sample_key, len(mask))
        replayed = MaskedBatch(replayed, (guide(replayed) < 0.5).astype(jnp.float32))

        def loss(params: Params) -> tuple[jax.Array, dict[str, jax.Array]]:
            surrogate = masked_mean(-model.log_likelihood(model.decode(params, z), noise), mask)
            replay = over_masked(model.loss)(params, replayed, replay_key)
            metrics = {"forget_loss": surrogate, "retain_loss": replay}
            return surrogate + self.replay_weight * replay, metrics

        grads, metrics = jax.grad(loss, has_aux=True)(params)
        updates = jax.tree.map(
            lambda g, f, theta, trained: g + 2.0 * self.fisher_weight * f * (theta - trained),
            grads, fisher, params, teacher,
        )  # fmt: skip
        return StepGradients(updates, None, metrics)
