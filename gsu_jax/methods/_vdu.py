"""VDU: gradient ascent, held back by a posterior of the trained parameters."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import above, in_range, whole
from gsu_jax.data import Examples, ImageSet
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import over_masked
from gsu_jax.models import Params


class Posterior(NamedTuple):
    """A Gaussian of independent parameters.

    Attributes:
        mean: mu, a tree as theta.
        variance: sigma^2, a tree as theta.
    """

    mean: Params
    variance: Params


@dataclass(frozen=True)
class VDU(Method):
    """Minimizes -(1 - gamma) l_f + gamma sum_i (theta_i - mu_i)^2 / (2 sigma_i^2).

    Variational diffusion unlearning, whose lower bound has these two terms: the likelihood of the
    forgotten images falls, while theta stays likely under the posterior N(mu, sigma^2) of the
    trained parameters. Here l is the loss of any generative model.

    What differs: the published mu and sigma are those of K independently trained checkpoints. Here
    is one trained model. K short runs continue from it, on forgotten and retained images together,
    each with its own batches and noise; mu and sigma are those of their ends. They show which
    directions training leaves free, but they spread less than independent checkpoints. So sigma has
    a floor, and gamma is smaller than published.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`; the short runs use
            `batch_size` too.
        prior_weight: gamma, in [0, 1). On MNIST {1, 3, 8} a tenth of it ruins the model, and ten
            times it moves nothing.
        checkpoints: K, at least 2.
        posterior_steps: the number of steps of each short run.
        posterior_learning_rate: of the short runs' Adam.
        least_deviation: the floor of sigma.

    Raises:
        ValueError: a setting is outside its range.

    Example:
        >>> VDU(checkpoints=1)
        Traceback (most recent call last):
        ValueError: checkpoints must be at least 2, got 1

    References:
        Panda et al., `Variational Diffusion Unlearning <https://arxiv.org/abs/2510.04058>`_, 2025.
    """

    name: ClassVar[str] = "vdu"

    learning_rate: float = 1e-4
    prior_weight: float = 1e-3
    checkpoints: int = 4
    posterior_steps: int = 20
    posterior_learning_rate: float = 1e-3
    least_deviation: float = 1e-3

    def __post_init__(self) -> None:
        in_range(0, 1, prior_weight=self.prior_weight)
        whole(2, checkpoints=self.checkpoints)
        whole(1, posterior_steps=self.posterior_steps)
        above(0, least_deviation=self.least_deviation)

    def prepare(self, model, params, forget, retain, key) -> Posterior:
        """Computes mean and variance of K short runs of training, under one `vmap`."""
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

    def gradients(self, model, prepared: Posterior, params, batch, key) -> StepGradients:
        """Returns the gradient of the loss: ascent, and the pull (theta - mu) / sigma^2."""
        gamma = self.prior_weight
        loss = over_masked(model.loss, model)
        value, ascended = jax.value_and_grad(loss)(params, batch.visited, key)
        updates = jax.tree.map(
            lambda g, theta, mu, variance: -(1.0 - gamma) * g + gamma * (theta - mu) / variance,
            ascended, params, *prepared,
        )  # fmt: skip
        return StepGradients(updates, None, {"forget_loss": value})


def fit_posterior(ends: Params, least_deviation: float) -> Posterior:
    """Mean and unbiased variance over the leading axis of each leaf, with a floor for sigma."""
    return Posterior(
        jax.tree.map(lambda x: x.mean(0), ends),
        jax.tree.map(lambda x: jnp.maximum(x.var(0, ddof=1), least_deviation**2), ends),
    )


def draw_from_both(forget: ImageSet, retain: ImageSet, n: int, key: jax.Array) -> Examples:
    """Some images, drawn uniformly from both sets with replacement, as floats in [0, 1].

    It makes no joined copy, so large sets are on the device once.
    """
    place = jax.random.randint(key, (n,), 0, forget.count + retain.count)
    of_forget = forget.take(jnp.minimum(place, forget.count - 1))
    of_retain = retain.take(jnp.maximum(place - forget.count, 0))

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where((place < forget.count).reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, of_forget, of_retain)
