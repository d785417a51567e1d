"""The rows that any unlearning table needs: nothing done, retraining, fine-tuning."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax

from gsu_jax.data import ImageSet
from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods.ingredients import over_masked
from gsu_jax.models import GenerativeModel, Params


@dataclass(frozen=True)
class Before(Method):
    """The pre-trained model as it is: no steps."""

    name: ClassVar[str] = "before"
    role: ClassVar[Literal["baseline", "yardstick", "method"]] = "baseline"
    visits: ClassVar[Literal["forget", "retain", "nothing"]] = "nothing"


@dataclass(frozen=True)
class FineTune(Method):
    """Goes on training, on the retained images alone: theta <- theta - eta grad l_r."""

    name: ClassVar[str] = "fine_tune"
    visits: ClassVar[Literal["forget", "retain", "nothing"]] = "retain"

    def gradients(
        self, model: GenerativeModel, prepared: Any, params: Params, batch: Batch, key: jax.Array
    ) -> StepGradients:
        """The gradient of the training loss on retained images."""
        loss, grads = jax.value_and_grad(over_masked(model.loss))(params, batch.visited, key)
        return StepGradients(grads, grads, {"retain_loss": loss})


@dataclass(frozen=True)
class Retrain(FineTune):
    """Trains anew on the retained images, from `model.init`: the yardstick of every other row.

    Give `unlearn` the epochs of the original training: one epoch is only its beginning.
    """

    name: ClassVar[str] = "retrain"
    role: ClassVar[Literal["baseline", "yardstick", "method"]] = "yardstick"

    learning_rate: float = 1e-3

    def start(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet,
        retain: ImageSet,
        key: jax.Array,
    ) -> Params:
        """Fresh parameters; the trained ones are not looked at."""
        return model.init(key)
