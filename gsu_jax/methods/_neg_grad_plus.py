"""NegGrad+: ascent on the forget loss and descent on the retain loss, in one weighted sum."""

from dataclasses import dataclass
from typing import ClassVar

import jax

from gsu_jax.checks import at_least, at_most
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods._two_gradients import ascent_and_retain_grads


@dataclass(frozen=True)
class NegGradPlus(Method):
    """Minimizes alpha l_r - (1 - alpha) l_f.

    What differs: the published method is for classifiers, whose loss on a forgotten image is
    bounded by that of a wrong answer. Here l is the loss of a generative model, and a run is one
    epoch over the forget set. -l_f has no lower bound, so a small alpha ends as ascent does.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`.
        retain_share: alpha, in [0, 1]; 0 is gradient ascent, 1 is fine-tuning.

    Raises:
        ValueError: `retain_share` is not in [0, 1].

    Example:
        >>> NegGradPlus(retain_share=1.5)
        Traceback (most recent call last):
        ValueError: retain_share must be at most 1, got 1.5

    References:
        Kurmanji et al., `Towards Unbounded Machine Unlearning <https://arxiv.org/abs/2302.09880>`_,
        2023.
    """

    name: ClassVar[str] = "neg_grad_plus"

    retain_share: float = 0.95

    def __post_init__(self) -> None:
        at_least(0, retain_share=self.retain_share)
        at_most(1, retain_share=self.retain_share)

    def gradients(self, model, prepared, params, batch, key) -> StepGradients:
        """Returns alpha grad l_r - (1 - alpha) grad l_f."""
        alpha = self.retain_share
        grads = ascent_and_retain_grads(model, model.loss, params, batch, key)
        updates = jax.tree.map(lambda r, a: alpha * r + (1 - alpha) * a, grads.retain, grads.forget)
        return StepGradients.of(updates, grads)
