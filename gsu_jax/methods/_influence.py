"""Influence: one Newton step to the minimum of the retained loss, by conjugate gradients."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import above, choice, whole
from gsu_jax.curvature import ComposedLoss, curvature_product, influence_on_params
from gsu_jax.data import ImageSet
from gsu_jax.methods._method import Method, Visits
from gsu_jax.models import GenerativeModel, Params, kl_to_standard_normal, sample_posterior


@dataclass(frozen=True)
class InfluenceStep(Method):
    """Takes one damped Newton step on the retained loss, theta + n_f / n_r (H + mu I)^-1 grad L_f.

    At the minimum of the whole loss, n_f grad L_f + n_r grad L_r = 0, so this is the Newton step
    theta - H^-1 grad L_r. H is the curvature of L_r at theta. Its inverse is applied by conjugate
    gradients: at most `iterations` products with H, of about one gradient each over the drawn
    retained images. Two more products and two gradients come on top.

    - "gauss_newton": L is the negative ELBO with beta = 1. H is its Gauss-Newton matrix, without
      the second derivatives of the networks. It is positive semi-definite, so the iteration is
      safe to cut short.
    - "hessian": L is the model's own loss, and H its Hessian. Networks at the end of training have
      negative curvature, for which mu has to be large.

    mu = damping <g, H g> / <g, g> with g = grad L_f: a damping of 1 adds the curvature along the
    forget gradient. The step is as long as the small eigenvalues allow, so it grows as mu falls.

    If the residual of the linear system ends at 1 or above, or is not a number, the step is worse
    than none. Then all parameters are NaN, and `unlearn` warns of it.

    What differs: Bae et al. argue against this approach: inverses of Hessians of generative models
    are out of reach, and surgery stands in for them. It is here to show what they cost and what
    they do. Gradients and curvature are those of a sample of each set.

    Attributes:
        learning_rate, batch_size, retain_batch_size: not used; there are no steps.
        label: as in `Method`.
        curvature: "gauss_newton" or "hessian".
        damping: of mu, above 0.
        iterations: the largest number of iterations.
        images: the largest number of images drawn from each set. A product with the curvature holds
            the activations of all of them.

    Raises:
        ValueError: a setting is outside its range or its choices.

    Example:
        >>> InfluenceStep(damping=0.0)
        Traceback (most recent call last):
        ValueError: damping must be above 0, got 0.0

    References:
        Koh & Liang, `Understanding Black-box Predictions via Influence Functions
        <https://arxiv.org/abs/1703.04730>`_, 2017. Guo et al., `Certified Data Removal from Machine
        Learning Models <https://arxiv.org/abs/1911.03030>`_, 2020. Martens, Deep Learning via
        Hessian-Free Optimization, 2010.
    """

    name: ClassVar[str] = "influence"
    visits: ClassVar[Visits] = "nothing"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood")

    curvature: Literal["gauss_newton", "hessian"] = "gauss_newton"
    damping: float = 0.03
    iterations: int = 30
    images: int = 1024

    def __post_init__(self) -> None:
        choice(("gauss_newton", "hessian"), curvature=self.curvature)
        above(0, damping=self.damping)
        whole(1, iterations=self.iterations, images=self.images)

    def check(self, model) -> None:
        """Checks that the model has what the curvature needs; the Hessian needs the loss alone."""
        if self.curvature == "gauss_newton":
            super().check(model)

    @jax.default_matmul_precision("highest")  # TF32 of a GPU would end the iteration early
    def start(self, model, params, forget, retain, key) -> Params:
        """Returns the parameters after the step, or NaN if the system was not solved."""
        forget_key, retain_key = jax.random.split(key)
        loss = elbo_loss(model) if self.curvature == "gauss_newton" else model_loss(model)
        examples = weighted_batch(forget, forget_key, self.images)
        data = weighted_batch(retain, retain_key, self.images)
        theta = jax.tree.map(lambda p: p.astype(jnp.float32), params)
        product = curvature_product(self.curvature, loss, theta, data)
        slope = jax.grad(loss)(theta, examples)
        influence, residual = influence_on_params(
            loss, theta, data, examples, curvature=self.curvature,
            damping=self.damping * curvature_along(slope, product), maxiter=self.iterations,
        )  # fmt: skip
        ratio = forget.count / retain.count

        def moved(p: jax.Array, own: jax.Array, change: jax.Array) -> jax.Array:
            return jnp.where(residual < 1, own - ratio * change, jnp.nan).astype(p.dtype)

        return jax.tree.map(moved, params, theta, influence)


def weighted_batch(images: ImageSet, key: jax.Array, at_most: int) -> Any:
    """Images drawn from a set, with a key each and weights of mean 1 that are 0 for padding."""
    draw_key, noise_key = jax.random.split(key)
    drawn = images.draw(draw_key, at_most)
    n = drawn.capacity
    weights = (jnp.arange(n) < drawn.count) * (n / drawn.count)
    return drawn.images, jax.random.split(noise_key, n), weights.astype(jnp.float32)


def elbo_loss(model: GenerativeModel) -> ComposedLoss:
    """The weighted mean of the negative ELBO, in the parts of a Gauss-Newton product."""

    def outputs(params: Params, batch: Any) -> Any:
        images, keys, _ = batch
        mean, log_variance = model.encode(params, images)
        z = jax.vmap(sample_posterior)(mean, log_variance, keys)
        return model.decode(params, z), mean, log_variance

    def of_outputs(outputs: Any, batch: Any) -> jax.Array:
        (decoded, *posterior), (images, _, weights) = outputs, batch
        values = kl_to_standard_normal(*posterior) - model.log_likelihood(decoded, images)
        return (weights * values).mean()

    return ComposedLoss(outputs, of_outputs)


def model_loss(model: GenerativeModel) -> Any:
    """The weighted mean of the model's own loss."""

    def of_one(params: Params, image: Any, key: jax.Array) -> jax.Array:
        return model.loss(params, jax.tree.map(lambda x: x[None], image), key)

    def loss(params: Params, batch: Any) -> jax.Array:
        images, keys, weights = batch
        return (weights * jax.vmap(of_one, (None, 0, 0))(params, images, keys)).mean()

    return loss


def curvature_along(direction: Params, product: Any) -> jax.Array:
    """|<g, H g>| / <g, g>, with g the direction; 1 if it is zero."""
    square = optax.tree.vdot(direction, direction)
    bend = jnp.abs(optax.tree.vdot(direction, product(direction)))
    return jnp.where(square == 0, 1, bend / jnp.where(square == 0, 1, square))
