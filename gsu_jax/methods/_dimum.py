"""DiMUM: each forgotten image is replaced by a retained image, which the decoder memorizes."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax

from gsu_jax.checks import at_least, whole
from gsu_jax.data import ImageSet
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import MaskedBatch, masked_mean
from gsu_jax.models import Params, sample_posterior
from gsu_jax.surgery import forget_retain_grads


class Prepared(NamedTuple):
    """What is computed once from the data.

    Attributes:
        teacher: theta*, the trained parameters.
        alternatives: the retained images that take the place of forgotten ones.
        pairs: `[forget capacity]`, the place of each forgotten image's alternative.
    """

    teacher: Params
    alternatives: ImageSet
    pairs: jax.Array


@dataclass(frozen=True)
class DiMUM(Method):
    """Minimizes -E log p(x' | Dec(z)) + beta l_r, with z ~ q*(z|x_f) and x' in the place of x_f.

    Each forgotten image x_f has one retained image x', drawn at random at the start and the same
    in all epochs. The decoder memorizes x' at the latents that theta*, the trained parameters, give
    x_f. It does not learn to avoid x_f: no loss is raised.

    What differs: the published method is for conditional diffusion models, where other data are
    learned under the forgotten condition. Here posteriors take the place of conditions, as in
    `SalUn`. That method draws a new pair in each step, learns the mean image Dec*(z_r), and moves
    half of the parameters. A run is one epoch over the forget set.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.
        retain_weight: beta, at least 0.
        alternatives: the largest number of different x'. They stay in memory during the run.

    Raises:
        ValueError: `retain_weight` is below 0, or `alternatives` is below 1.

    Example:
        >>> DiMUM(alternatives=0)
        Traceback (most recent call last):
        ValueError: alternatives must be at least 1, got 0

    References:
        Yuan et al., `Towards Irreversible Machine Unlearning for Diffusion Models
        <https://arxiv.org/abs/2512.03564>`_, 2025.
    """

    name: ClassVar[str] = "dimum"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "log_likelihood")

    learning_rate: float = 1e-3
    retain_weight: float = 1.0
    alternatives: int = 2048

    def __post_init__(self) -> None:
        at_least(0, retain_weight=self.retain_weight)
        whole(1, alternatives=self.alternatives)

    def prepare(self, model, params, forget, retain, key) -> Prepared:
        """Draws the alternatives, and pairs each forgotten image with one."""
        draw_key, pair_key = jax.random.split(key)
        drawn = retain.draw(draw_key, self.alternatives)
        pairs = jax.random.randint(pair_key, (forget.capacity,), 0, drawn.count)
        return Prepared(params, drawn, pairs)

    def gradients(self, model, prepared: Prepared, params, batch, key) -> StepGradients:
        """Returns the gradient of the loss."""
        targets = prepared.alternatives.take(prepared.pairs[batch.indices])

        def memorizing_loss(params: Params, visited: MaskedBatch, key: jax.Array) -> jax.Array:
            z = sample_posterior(*model.encode(prepared.teacher, visited.images), key)
            values = -model.log_likelihood(model.decode(params, z), targets)
            return masked_mean(values, visited.mask)

        grads = forget_retain_grads(
            model.loss, params, batch.visited, batch.retain, key, forget_loss=memorizing_loss
        )
        updates = jax.tree.map(lambda f, r: f + self.retain_weight * r, grads.forget, grads.retain)
        return StepGradients.of(updates, grads)
