"""NegGrad+: ascent on what is to be forgotten and descent on the rest, in one weighted sum."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from gsu_jax.methods._gradient_surgery import negative
from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods.ingredients import over_masked
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.surgery import forget_retain_grads


@dataclass(frozen=True)
class NegGradPlus(Method):
    """Minimises alpha l_r - (1 - alpha) l_f.

    Kurmanji et al. 2023 (https://arxiv.org/abs/2302.09880). What differs: the published method is
    for classifiers, whose loss on forgotten images is that of a wrong answer at most; here is a
    generative model's l, and one epoch over the forget set. -l_f has no lower bound, so that a
    small alpha ends as ascent does.

    Attributes:
      learning_rate, batch_size, retain_batch_size: as in `Method`.
      retain_share: alpha, in [0, 1]; 0 is gradient ascent, 1 fine-tuning.
    """

    name: ClassVar[str] = "neg_grad_plus"

    retain_share: float = 0.95

    def __post_init__(self) -> None:
        if not 0 <= self.retain_share <= 1:
            raise ValueError(f"retain_share must be in [0, 1], found {self.retain_share}.")

    def gradients(
        self, model: GenerativeModel, prepared: Any, params: Params, batch: Batch, key: jax.Array
    ) -> StepGradients:
        """Alpha grad l_r - (1 - alpha) grad l_f."""
        ascend, alpha = negative(over_masked(model.loss)), self.retain_share
        grads = forget_retain_grads(
            model.loss, params, batch.visited, batch.retain, key, forget_loss=ascend
        )
        updates = jax.tree.map(lambda r, a: alpha * r + (1 - alpha) * a, grads.retain, grads.forget)
        metrics = {"forget_loss": -grads.forget_loss, "retain_loss": grads.retain_loss}
        return StepGradients(updates, grads.retain, metrics)
