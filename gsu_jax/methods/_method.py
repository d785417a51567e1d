"""What a method is: how one step's gradients are made. The loop itself is `unlearn`'s."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import optax

from gsu_jax.data import Count, ImageSet
from gsu_jax.methods.ingredients import MaskedBatch
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.surgery import conflict_metrics


class Batch(NamedTuple):
    """What one step sees.

    Attributes:
      visited: the images this step visits, of the forget set or, for a method that visits the
        retain set, of that; filled up and masked in the last step of an epoch.
      indices: `[batch]`, their places in the set, to find what `prepare` made for each of them.
      retain: `[retain_batch, h, w, c]`, a full batch of the retain set.
      number: of the step, from 0.
      progress: the share of the run's steps that lie behind, from 0 to below 1.
    """

    visited: MaskedBatch
    indices: jax.Array
    retain: jax.Array
    number: jax.Array | int = 0
    progress: jax.Array | float = 0.0


class StepGradients(NamedTuple):
    """What one step hands to the optimiser.

    Attributes:
      updates: gradients in the descent convention: what an optimiser subtracts.
      retain_grads: the gradient to be retained, passed on as optax extra argument; or None.
      metrics: scalars for the history.
      extra: more extra arguments of the method's `transform`, by name; or None.
    """

    updates: Params
    retain_grads: Params | None
    metrics: dict[str, jax.Array]
    extra: dict[str, Any] | None = None


@dataclass(frozen=True)
class Method:
    """Base of every unlearning method: a frozen dataclass of its settings.

    A method overrides `gradients` and, where it needs to, the rest. `start`, `prepare`,
    `gradients` and `transform` are traced by `jax.jit`; all of it counts as the method's time.

    Attributes:
      name: as on the command line and in results.
      role: what the results are compared with: "baseline" (the model before unlearning),
        "yardstick" (retraining), or "method".
      visits: the set that an epoch visits.
      needs: the optional fields of `GenerativeModel` without which it cannot work.
      learning_rate: of the default optimiser, Adam.
      batch_size: images visited in a step, where `unlearn` is given no other.
      retain_batch_size: retained images in a step; None is `batch_size`.
      label: what its row in a table is called, to tell two settings apart; `name` where empty.
    """

    name: ClassVar[str]
    role: ClassVar[Literal["baseline", "yardstick", "method"]] = "method"
    visits: ClassVar[Literal["forget", "retain", "nothing"]] = "forget"
    needs: ClassVar[tuple[str, ...]] = ()

    learning_rate: float = 5e-4
    batch_size: int = 128
    retain_batch_size: int | None = None
    label: str = ""

    @property
    def title(self) -> str:
        """The name of the method in results and tables: `label`, or `name` if there is none."""
        return self.label or self.name

    def check(self, model: GenerativeModel) -> None:
        """Raises ValueError before anything is run where the model lacks what is needed."""
        model.require(*self.needs, needed_by=self.name)

    def start(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet,
        retain: ImageSet,
        key: jax.Array,
    ) -> Params:
        """The parameters that the first step sees; the result, for a method without steps.

        How many images a set has is traced: see `ImageSet` for what can be done with one.
        """
        return params

    def prepare(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet,
        retain: ImageSet,
        key: jax.Array,
    ) -> Any:
        """What is computed once from the data: a pytree of arrays handed to every step."""
        return None

    def gradients(
        self,
        model: GenerativeModel,
        prepared: Any,
        params: Params,
        batch: Batch,
        key: jax.Array,
    ) -> StepGradients:
        """The gradients of one step."""
        raise NotImplementedError

    def default_batch_size(self, images: int, epochs: int) -> int:
        """The batch size for `images` visited images if `unlearn` gets no `batch_size`."""
        return self.batch_size

    def optimizer(self, steps: Count) -> optax.GradientTransformation:
        """The default optimiser of a run of `steps` steps, a traced number."""
        return optax.adam(self.learning_rate)

    def transform(
        self, optimizer: optax.GradientTransformation, params: Params, steps: Count
    ) -> optax.GradientTransformationExtraArgs:
        """The optax chain of a run of `steps` steps, a traced number.

        Its update receives `retain_grads`, and what `gradients` gave as `extra`.
        """
        return optax.with_extra_args_support(optimizer)

    def measured(self, state: optax.OptState) -> dict[str, jax.Array]:
        """Returns what the chain measured in the last step, for the history."""
        return conflict_metrics(state)
