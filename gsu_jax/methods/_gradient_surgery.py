"""The paper's method: forget along the normal plane of the retain gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import at_least, choice
from gsu_jax.methods._method import StepGradients
from gsu_jax.methods._two_gradients import TwoGradients, check_weight_acts, weighted_retain
from gsu_jax.models import Params
from gsu_jax.surgery import measure_conflict, project_conflicting


@dataclass(frozen=True)
class GradientSurgery(TwoGradients):
    """Projects the ascent on l_f off the retain gradient, before the optimizer.

        a <- a - (a.r / r.r) r,    a = -grad l_f,  r = grad l_r

    The paper leaves several choices open. Each is a setting here; the defaults are the plain
    reading of the paper.

    Attributes:
        learning_rate, loss, through: as in `GradientAscent`; l_r is of the same kind as l_f.
        batch_size, retain_batch_size, label: as in `Method`.
        sign: "ascend" l_f, as in eq. 1 of the paper, or "descend" it, a = grad l_f.
        when: project "always", as in the paper, or only on "conflict", a.r < 0 (PCGrad).
        scope: one inner product for the whole model ("global"), for each "module" (the arrays with
            one parent in the parameter tree), or for each "leaf".
        retain_gradients: 1, or k: the retain batch is cut into k parts. "always" projects out the
            span of their gradients, "conflict" projects onto their cone. k must divide the batch.
        incoming: project the "gradients" before the optimizer, or its "steps" after it.
        retain_weight: lambda of a <- surgery(a) + lambda r (Ko et al. 2024); 0 is the paper. A
            projection of the steps "always" would take r out again: then choose "conflict".

    Raises:
        ValueError: a setting is none of its choices, or `retain_gradients` is below 1.

    Example:
        >>> GradientSurgery(when="conflict", retain_weight=3.0).scope
        'global'
        >>> GradientSurgery(sign="up")
        Traceback (most recent call last):
        ValueError: sign must be "ascend" or "descend", got 'up'

    References:
        Bae et al., `Gradient Surgery for One-shot Unlearning on Generative Model
        <https://arxiv.org/abs/2307.04550>`_, 2023, section 2.
        Ko et al., `Boosting Alignment for Post-Unlearning Text-to-Image Generative Models
        <https://arxiv.org/abs/2412.07808>`_, 2024.
    """

    name: ClassVar[str] = "gradient_surgery"
    retired: ClassVar[Mapping[str, Any]] = {"rule": "project"}

    sign: Literal["ascend", "descend"] = "ascend"
    when: Literal["always", "conflict"] = "always"
    scope: Literal["global", "module", "leaf"] = "global"
    retain_gradients: int = 1
    incoming: Literal["gradients", "steps"] = "gradients"
    retain_weight: float = 0.0

    def __post_init__(self) -> None:
        choice(("ascend", "descend"), sign=self.sign)
        choice(("always", "conflict"), when=self.when)
        choice(("global", "module", "leaf"), scope=self.scope)
        choice(("gradients", "steps"), incoming=self.incoming)
        at_least(1, retain_gradients=self.retain_gradients)

    def check(self, model) -> None:
        """Checks that the model has what the loss needs, and that `retain_weight` has an effect."""
        super().check(model)
        if self.incoming == "steps":
            check_weight_acts(self.retain_weight, self.when)

    def gradients(self, model, prepared, params, batch, key) -> StepGradients:
        """Returns the forget gradient, with its sign, and the retain gradient."""
        step = super().gradients(model, prepared, params, batch, key)
        if self.sign == "ascend":
            return step
        return step._replace(updates=jax.tree.map(jnp.negative, step.updates))

    def transform(self, optimizer, params, steps) -> optax.GradientTransformationExtraArgs:
        """The projection and the optimizer, in the order that `incoming` says."""
        scope = modules(params) if self.scope == "module" else self.scope
        projection = project_conflicting(when=self.when, scope=scope, incoming=self.incoming)
        retain = weighted_retain(self.retain_weight)
        if self.incoming == "steps":
            return optax.chain(retain, optimizer, projection, measure_conflict())
        return optax.chain(projection, retain, optimizer, measure_conflict())


def modules(params: Params) -> Any:
    """A label for each array of `params`: the path of its parent, so of the layer it belongs to."""
    return jax.tree_util.tree_map_with_path(lambda path, _: jax.tree_util.keystr(path[:-1]), params)
