"""Gradient ascent on the forget set: objective (1) of Bae et al. 2023, without surgery."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax

from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods.ingredients import over_masked, training_loss
from gsu_jax.models import GenerativeModel, Params


@dataclass(frozen=True)
class GradientAscent(Method):
    """theta <- theta + eta grad l_f: raises the loss of what is to be forgotten.

    Attributes:
      learning_rate: of Adam; the paper's 5e-4 for MNIST.
      loss: l_f, the model's own training loss ("elbo") or its "reconstruction" term alone.
      through: the part that gradients reach, the whole "model" or its "decoder" (q(z|x) held).
    """

    name: ClassVar[str] = "gradient_ascent"

    loss: Literal["elbo", "reconstruction"] = "elbo"
    through: Literal["model", "decoder"] = "model"

    def check(self, model: GenerativeModel) -> None:
        """A loss other than the model's own needs its latent variables."""
        training_loss(model, self.loss, self.through, needed_by=self.name)

    def gradients(
        self, model: GenerativeModel, prepared: Any, params: Params, batch: Batch, key: jax.Array
    ) -> StepGradients:
        """Minus the gradient of the forget loss."""
        loss = over_masked(training_loss(model, self.loss, self.through))
        value, grads = jax.value_and_grad(loss)(params, batch.visited, key)
        return StepGradients(jax.tree.map(lambda g: -g, grads), None, {"forget_loss": value})
