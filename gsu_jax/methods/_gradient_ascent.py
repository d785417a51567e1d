"""Gradient ascent on the forget set, without surgery."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import over_masked, training_loss


@dataclass(frozen=True)
class GradientAscent(Method):
    """Raises the loss of the forgotten images: theta <- theta + eta grad l_f.

    Attributes:
        learning_rate: of Adam; 5e-4 is the paper's value for MNIST.
        batch_size, retain_batch_size, label: as in `Method`.
        loss: l_f, the model's own training loss ("elbo") or only its "reconstruction" term.
        through: what the gradient reaches: the whole "model", or the "decoder" with q(z|x) fixed.

    Example:
        >>> GradientAscent(loss="reconstruction", label="ascent-reconstruction").title
        'ascent-reconstruction'

    References:
        Bae et al., `Gradient Surgery for One-shot Unlearning on Generative Model
        <https://arxiv.org/abs/2307.04550>`_, 2023, eq. 1.
    """

    name: ClassVar[str] = "gradient_ascent"

    loss: Literal["elbo", "reconstruction"] = "elbo"
    through: Literal["model", "decoder"] = "model"

    def check(self, model) -> None:
        """Checks that the model has the latent variables that `loss` and `through` need."""
        training_loss(model, self.loss, self.through, needed_by=self.name)

    def gradients(self, model, prepared, params, batch, key) -> StepGradients:
        """Returns minus the gradient of the forget loss."""
        loss = over_masked(training_loss(model, self.loss, self.through), model)
        value, grads = jax.value_and_grad(loss)(params, batch.visited, key)
        return StepGradients(jax.tree.map(jnp.negative, grads), None, {"forget_loss": value})
