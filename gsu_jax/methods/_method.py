"""The base class of every method, and what one step sees and returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import jax
import numpy as np
import optax

from gsu_jax.data import Count, Examples, ImageSet
from gsu_jax.methods.ingredients import MaskedBatch
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.surgery import ForgetRetainGrads, conflict_metrics

Role = Literal["baseline", "yardstick", "method"]
Visits = Literal["forget", "retain", "nothing"]


class Batch(NamedTuple):
    """What one step sees.

    Attributes:
        visited: the images that the step visits, from the set that `Method.visits` names. The last
            batch of an epoch is padded and masked.
        indices: `[batch]`, the places of these images in their set. They look up what `prepare`
            computed for each image.
        retain: `[retain_batch, h, w, c]`, a full batch of retained images; or a pytree of arrays
            `[retain_batch, ...]`.
        number: the number of the step, from 0.
        progress: the share of the run's steps that came before this one, in [0, 1).
    """

    visited: MaskedBatch
    indices: jax.Array
    retain: Examples
    number: jax.Array | int = 0
    progress: jax.Array | float = 0.0


class StepGradients(NamedTuple):
    """What one step passes to the optimizer.

    Attributes:
        updates: gradients in the descent convention: an optimizer subtracts them.
        retain_grads: the retain gradient, passed to the optimizer as an extra argument; or None.
        metrics: scalars for the history.
        extra: more extra arguments for the optimizer, by name; or None.
    """

    updates: Params
    retain_grads: Params | None
    metrics: dict[str, jax.Array]
    extra: dict[str, Any] | None = None

    @classmethod
    def of(cls, updates: Params, grads: ForgetRetainGrads, extra: Any = None) -> Self:
        """The step `updates`, with the retain gradient and both losses of `grads`."""
        metrics = {"forget_loss": grads.forget_loss, "retain_loss": grads.retain_loss}
        return cls(updates, grads.retain, metrics, extra)


@dataclass(frozen=True)
class Method:
    """Base of every unlearning method: a frozen dataclass of its settings.

    A method overrides `gradients`, and the other functions if it needs to. `unlearn` traces
    `start`, `prepare`, `gradients` and `transform` with `jax.jit`, and counts them as the method's
    time. A method that overrides them takes the types of their parameters from here.

    Attributes:
        name: the name on the command line and in results.
        role: what the method is in a comparison: the "baseline" is the model before unlearning, the
            "yardstick" is retraining, everything else is a "method".
        visits: the set that an epoch visits.
        needs: the optional fields of `GenerativeModel` that the method needs.
        instead: the fields with which a model that lacks some of `needs` will do; () if none.
        retired: former settings, each with the value at which a record of it is still valid.
        added: settings of a later release, which a record leaves out at their defaults.
        learning_rate: of the default optimizer, Adam.
        batch_size: visited images in a step, unless `unlearn` gets another size.
        retain_batch_size: retained images in a step; `batch_size` if it is None.
        label: the name in results, to tell two settings of one method apart; `name` if empty.

    Example:
        >>> Method.role, Method.visits
        ('method', 'forget')
    """

    name: ClassVar[str]
    role: ClassVar[Role] = "method"
    visits: ClassVar[Visits] = "forget"
    needs: ClassVar[tuple[str, ...]] = ()
    instead: ClassVar[tuple[str, ...]] = ()
    retired: ClassVar[Mapping[str, Any]] = {}
    added: ClassVar[tuple[str, ...]] = ()

    learning_rate: float = 5e-4
    batch_size: int = 128
    retain_batch_size: int | None = None
    label: str = ""

    @property
    def title(self) -> str:
        """The name of the method in results and tables: `label`, or `name` if there is none."""
        return self.label or self.name

    def check(self, model: GenerativeModel) -> None:
        """Checks before the run that the model has what the method needs.

        Raises:
            ValueError: the model lacks a field in `needs` and one in `instead`, or a setting does
                not fit the model.
        """
        model.require(*self.needs, needed_by=self.name, instead=self.instead)

    def start(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet,
        retain: ImageSet,
        key: jax.Array,
    ) -> Params:
        """Returns the parameters before the first step, the result of a method without steps.

        The number of images in a set is traced. `ImageSet` has what can be computed from a set.
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
        """Computes once from the data what every step needs: a pytree of arrays."""
        return None

    def gradients(
        self,
        model: GenerativeModel,
        prepared: Any,
        params: Params,
        batch: Batch,
        key: jax.Array,
    ) -> StepGradients:
        """Returns the gradients of one step."""
        raise NotImplementedError

    def default_batch_size(self, images: int, epochs: int) -> int:
        """The batch size for `images` visited images if `unlearn` gets no `batch_size`."""
        return self.batch_size

    def optimizer(self, steps: Count) -> optax.GradientTransformation:
        """The default optimizer of a run of `steps` steps, a traced number."""
        return optax.adam(self.learning_rate)

    def transform(
        self, optimizer: optax.GradientTransformation, params: Params, steps: Count
    ) -> optax.GradientTransformationExtraArgs:
        """The optax chain of a run of `steps` steps, a traced number.

        Its update gets `retain_grads` and the entries of `StepGradients.extra`.
        """
        return optax.with_extra_args_support(optimizer)

    def measured(self, state: optax.OptState) -> dict[str, jax.Array]:
        """Returns what the chain measured in the last step, for the history."""
        return conflict_metrics(state)

    def shortfall(self, history: Mapping[str, np.ndarray]) -> str:
        """Returns what a finished run left undone, as one sentence for the user; "" if nothing.

        `unlearn` logs it as a warning.

        Args:
            history: the metrics of the steps: name -> `[steps]`. Empty for a run without steps.
        """
        return ""
