"""The baselines of an unlearning table: the trained model, retraining, fine-tuning."""

from dataclasses import dataclass
from typing import ClassVar

import jax

from gsu_jax.methods._method import Method, Role, StepGradients, Visits
from gsu_jax.methods.ingredients import over_masked
from gsu_jax.models import Params


@dataclass(frozen=True)
class Before(Method):
    """The trained model without any unlearning: no steps.

    Example:
        >>> Before.role, Before.visits
        ('baseline', 'nothing')
    """

    name: ClassVar[str] = "before"
    role: ClassVar[Role] = "baseline"
    visits: ClassVar[Visits] = "nothing"


@dataclass(frozen=True)
class FineTune(Method):
    """Continues training on the retained images: theta <- theta - eta grad l_r.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.

    Example:
        >>> FineTune(learning_rate=1e-3).visits
        'retain'
    """

    name: ClassVar[str] = "fine_tune"
    visits: ClassVar[Visits] = "retain"

    def gradients(self, model, prepared, params, batch, key) -> StepGradients:
        """Returns the gradient of the training loss on retained images."""
        masked_loss = over_masked(model.loss, model)
        loss, grads = jax.value_and_grad(masked_loss)(params, batch.visited, key)
        return StepGradients(grads, grads, {"retain_loss": loss})


@dataclass(frozen=True)
class Retrain(FineTune):
    """Trains a new model from `model.init` on the retained images alone.

    It is the yardstick of every method. Give `unlearn` the epochs of the original training: one
    epoch is only the start of a training run.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.

    Example:
        >>> Retrain.role
        'yardstick'
    """

    name: ClassVar[str] = "retrain"
    role: ClassVar[Role] = "yardstick"

    learning_rate: float = 1e-3

    def start(self, model, params, forget, retain, key) -> Params:
        """Returns new parameters; the trained ones are not used."""
        return model.init(key)
