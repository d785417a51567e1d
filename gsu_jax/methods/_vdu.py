"""VDU: gradient ascent held back where a posterior of the trained parameters is narrow."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.data import ImageSet, scale_images
from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods.ingredients import over_masked
from gsu_jax.models import GenerativeModel, Params


class Posterior(NamedTuple):
    """A Gaussian of independent parameters: `mean` mu and `variance` sigma^2, trees as theta."""

    mean: Params
    variance: Params


@dataclass(frozen=True)
class VDU(Method):
    """Minimises -(1 - gamma) l_f + gamma sum_i (theta_i - mu_i)^2 / (2 sigma_i^2).

    Variational diffusion unlearning (Panda et al. 2025), whose lower bound has these two terms:
    the forgotten images' likelihood falls, while theta stays likely under the posterior of the
    trained parameters, N(mu, sigma^2), here for any generative model's loss.

    What differs: published are mu and sigma of K checkpoints trained independently. Here is one
    trained model, so that K short runs go on from it, on forgotten and retained images together,
    each with batches and noise of its own; mu and sigma are those of their ends. They tell the
    directions that training does not mind from those it holds, but spread less than independent
    checkpoints do: sigma has a floor, and gamma is smaller than published settings.

    Attributes:
      learning_rate: of Adam.
      batch_size: as in `Method`; the short runs use it too.
      prior_weight: gamma. On MNIST138 a tenth of it ruins the model, ten times it moves nothing.
      checkpoints: K, at least 2.
      posterior_steps: of each short run.
      posterior_learning_rate: of its Adam.
      least_deviation: the floor of sigma; also for parameters that no image moves.
    """

    name: ClassVar[str] = "vdu"

    learning_rate: float = 1e-4
    prior_weight: float = 1e-3
    checkpoints: int = 4
    posterior_steps: int = 20
    posterior_learning_rate: float = 1e-3
    least_deviation: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.prior_weight < 1:
            raise ValueError(f"prior_weight must be in [0, 1), found {self.prior_weight}.")
        if self.checkpoints < 2 or self.posterior_steps < 1:
            raise ValueError(
                "checkpoints must be at least 2 and posterior_steps at least 1, found "
                f"{self.checkpoints} and {self.posterior_steps}."
            )
        if self.least_deviation <= 0:
            raise ValueError(f"least_deviation must be above 0, found {self.least_deviation}.")

    def prepare(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet,
        retain: ImageSet,
        key: jax.Array,
    ) -> Posterior:
        """Mean and variance of K short runs of training, under one `vmap`."""
        optimizer = optax.adam(self.posterior_learning_rate)
        batch_size = min(self.batch_size, forget.capacity)

        def step(carry, key):
            params, state = carry
            batch_key, loss_key = jax.random.split(key)
            images = draw_from_both(forget, retain, batch_size, batch_key)
            grads = jax.grad(model.loss)(params, images, loss_key)
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        def run(key: jax.Array) -> Params:
            keys = jax.random.split(key, self.posterior_steps)
            (end, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), keys)
            return end

        ends = jax.vmap(run)(jax.random.split(key, self.checkpoints))
        return fit_posterior(ends, self.least_deviation)

    def gradients(
        self,
        model: GenerativeModel,
        prepared: Posterior,
        params: Params,
        batch: Batch,
        key: jax.Array,
    ) -> StepGradients:
        """The gradient of the loss above: ascent, and the pull (theta - mu) / sigma^2."""
        gamma = self.prior_weight
        value, ascended = jax.value_and_grad(over_masked(model.loss))(params, batch.visited, key)
        updates = jax.tree.map(
            lambda g, theta, mu, variance: -(1.0 - gamma) * g + gamma * (theta - mu) / variance,
            ascended, params, *prepared,
        )  # fmt: skip
        return StepGradients(updates, None, {"forget_loss": value})


def fit_posterior(ends: Params, least_deviation: float) -> Posterior:
    """Mean and unbiased variance over the leading axis of each leaf; sigma has a floor."""
    return Posterior(
        jax.tree.map(lambda x: x.mean(0), ends),
        jax.tree.map(lambda x: jnp.maximum(x.var(0, ddof=1), least_deviation**2), ends),
    )


def draw_from_both(forget: ImageSet, retain: ImageSet, n: int, key: jax.Array) -> jax.Array:
    """`[n, h, w, c]` images in [0, 1], uniformly of both sets, with replacement.

    Without a joined copy of them: large sets are held on the device once.
    """
    place = jax.random.randint(key, (n,), 0, forget.count + retain.count)
    of_forget = scale_images(forget.take(jnp.minimum(place, forget.count - 1)))
    of_retain = scale_images(retain.take(jnp.maximum(place - forget.count, 0)))
    return jnp.where((place < forget.count)[:, None, None, None], of_forget, of_retain)
