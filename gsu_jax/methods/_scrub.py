"""SCRUB: a student departs from its teacher on forgotten images only."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from gsu_jax.checks import above, at_least, at_most
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import MaskedBatch, masked_mean
from gsu_jax.models import GenerativeModel, Params, PerImage, sample_posterior
from gsu_jax.surgery import forget_retain_grads


@dataclass(frozen=True)
class SCRUB(Method):
    """Minimizes gamma l_r + alpha E_{D_r} d - E_{D_f} d, with d = KL(teacher || student).

    The last term is used in the first part of the run alone. The published method is for
    classifiers. For a latent variable model, with the trained parameters theta* as the teacher,

        d(x) = KL(q*(z|x) || q(z|x)) + E_{z ~ q*(z|x)} KL(p*(x'|z) || p(x'|z))

    with one sample of z. Both divergences are in closed form: the first is between Gaussians, the
    second is log p*(m|z) - log p(m|z) at the teacher's mean image m, which is exact for Bernoulli
    pixels and for Gaussian pixels of a fixed variance.

    What differs: SCRUB alternates epochs over D_f and over D_r. Here is one epoch over D_f, whose
    first steps take both terms at once and whose last steps take the retained terms alone. At the
    teacher d has no gradient, so the retained loss takes the first step away from it.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.
        retain_weight: gamma.
        teacher_weight: alpha.
        forget_share: the share of steps that depart from the teacher on forgotten images.

    Raises:
        ValueError: a weight is below 0, or `forget_share` is not in (0, 1].

    Example:
        >>> SCRUB(forget_share=0.25, label="scrub-short").title
        'scrub-short'

    References:
        Kurmanji et al., `Towards Unbounded Machine Unlearning <https://arxiv.org/abs/2302.09880>`_,
        2023.
    """

    name: ClassVar[str] = "scrub"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood", "mean")

    retain_weight: float = 1.0
    teacher_weight: float = 1.0
    forget_share: float = 0.5

    def __post_init__(self) -> None:
        at_least(0, retain_weight=self.retain_weight, teacher_weight=self.teacher_weight)
        above(0, forget_share=self.forget_share)
        at_most(1, forget_share=self.forget_share)

    def prepare(self, model, params, forget, retain, key) -> Params:
        """Returns the teacher theta*."""
        return params

    def gradients(self, model, prepared: Params, params, batch, key) -> StepGradients:
        """Returns the gradient of the loss, without its last term in the second part of the run."""

        def depart(params: Params, batch: MaskedBatch, key: jax.Array) -> jax.Array:
            distance = distance_to_teacher(model, prepared, params, batch.images, key)
            return -masked_mean(distance, batch.mask)

        def stay(params: Params, images: jax.Array, key: jax.Array) -> jax.Array:
            loss_key, distance_key = jax.random.split(key)
            distance = distance_to_teacher(model, prepared, params, images, distance_key)
            loss = model.loss(params, images, loss_key)
            return self.retain_weight * loss + self.teacher_weight * distance.mean()

        grads = forget_retain_grads(
            stay, params, batch.visited, batch.retain, key, forget_loss=depart
        )
        departs = batch.progress < self.forget_share
        updates = jax.tree.map(
            lambda f, r: r + jnp.where(departs, f, 0.0), grads.forget, grads.retain
        )
        return StepGradients.of(updates, grads)


def distance_to_teacher(
    model: GenerativeModel, teacher: Params, params: Params, images: jax.Array, key: jax.Array
) -> PerImage:
    """d(x) of `SCRUB` for each image, in nats; 0 if `params` equal `teacher`."""
    mean, log_variance = model.encode(teacher, images)
    z = sample_posterior(mean, log_variance, key)
    decoded = model.decode(teacher, z)
    drawn = model.mean(decoded)
    likelihoods = (model.log_likelihood(d, drawn) for d in (decoded, model.decode(params, z)))
    teachers, students = likelihoods
    return (
        kl_between_gaussians(mean, log_variance, *model.encode(params, images))
        + teachers
        - students
    )


def kl_between_gaussians(
    mean: jax.Array, log_variance: jax.Array, other_mean: jax.Array, other_log_variance: jax.Array
) -> PerImage:
    """KL(N(mean, exp log_variance) || N(other...)) in nats, summed over the last axis, float32.

    1/2 sum_j (v_j + (mean_j - mean'_j)^2) / v'_j - 1 - log(v_j / v'_j), v the variances.
    """
    mean, log_variance, other_mean, other_log_variance = (
        x.astype(jnp.float32) for x in (mean, log_variance, other_mean, other_log_variance)
    )
    log_ratio = log_variance - other_log_variance
    square = (mean - other_mean) ** 2 * jnp.exp(-other_log_variance)
    return 0.5 * jnp.sum(jnp.exp(log_ratio) + square - 1.0 - log_ratio, axis=-1)
