"""S: the retain gradient without its component along the forget gradient."""

from dataclasses import dataclass
from typing import ClassVar

import optax

from gsu_jax.methods._two_gradients import TwoGradients
from gsu_jax.surgery.rules import project_retain


@dataclass(frozen=True)
class ProjectRetain(TwoGradients):
    """Trains on the retained images along what leaves the forget loss as it is.

        r - (r.a / a.a) a,    a = -grad l_f,  r = grad l_r

    It is the rule S, which `UNOS` takes at every second step. The forget gradient is not followed.

    Attributes:
        learning_rate, loss, through: as in `GradientAscent`; l_r is of the same kind as l_f.
        batch_size, retain_batch_size, label: as in `Method`.

    Example:
        >>> ProjectRetain(learning_rate=1e-3).title
        'project_retain'

    References:
        Mandal & Gottwald, `UNO: Unlearning via Orthogonalization in Generative Models
        <https://arxiv.org/abs/2506.04712>`_, 2025.
    """

    name: ClassVar[str] = "project_retain"

    def combine(self) -> optax.GradientTransformation:
        """`gsu_jax.surgery.rules.project_retain`."""
        return project_retain()
