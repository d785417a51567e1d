"""The paper's method: forget along the normal plane of what is to be retained."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import optax

from gsu_jax.checks import choice
from gsu_jax.data import Count
from gsu_jax.methods._gradient_ascent import GradientAscent
from gsu_jax.methods._method import Batch, StepGradients
from gsu_jax.methods.ingredients import over_masked, training_loss
from gsu_jax.models import GenerativeModel, Loss, Params
from gsu_jax.surgery import (
    add_retain_gradient,
    forget_retain_grads,
    measure_conflict,
    project_conflicting,
)
from gsu_jax.surgery.rules import cagrad, gru, pcgrad, project_retain, projected_adam

RULES = {"pcgrad": pcgrad, "cagrad": cagrad, "gru": gru, "s": project_retain}
_OF_SURGERY = ("when", "scope", "incoming", "retain_gradients")
UNUSED = {  # the settings that a rule has no place for
    "project": (),
    "metric": ("scope", "incoming"),
    "gru": _OF_SURGERY,
    "pcgrad": (*_OF_SURGERY, "retain_weight"),
    "cagrad": (*_OF_SURGERY, "retain_weight"),
    "s": (*_OF_SURGERY, "retain_weight", "sign"),
}


@dataclass(frozen=True)
class GradientSurgery(GradientAscent):
    """a = -grad l_f;  a <- a - (a.r / r.r) r,  r = grad l_r;  then the optimiser.

    Bae et al. 2023, section 2. What the paper leaves open is a setting here; the defaults are its
    plain reading.

    Attributes:
      learning_rate, loss, through: as in `GradientAscent`; l_r is of the same kind as l_f.
      rule: how a and r make one update: "project", the paper's; "metric", the same on Adam's steps
        in Adam's metric; "pcgrad", "cagrad", "gru", "s": `gsu_jax.surgery.rules`.
      sign: "ascend" l_f, as the paper's eq. 1; "descend" is the other reading, a = grad l_f.
      when: project "always" (the paper) or only on "conflict", a.r < 0 (PCGrad).
      scope: one inner product for the whole model ("global"), for each "module" (the arrays that
        share a parent in the parameter tree) or for each "leaf".
      retain_gradients: 1, or k: the retain batch is cut into k parts and the span of their
        gradients is projected out, or a onto their cone on "conflict". k must divide the batch.
      incoming: project the "gradients" before the optimiser, or its "steps" after it.
      retain_weight: lambda of a <- surgery(a) + lambda r (Ko et al. 2024); 0 is the paper. Where
        the steps are projected, "always" would take r out again: only "conflict" goes with that.
    """

    name: ClassVar[str] = "gradient_surgery"

    rule: Literal["project", "pcgrad", "cagrad", "gru", "s", "metric"] = "project"
    sign: Literal["ascend", "descend"] = "ascend"
    when: Literal["always", "conflict"] = "always"
    scope: Literal["global", "module", "leaf"] = "global"
    retain_gradients: int = 1
    incoming: Literal["gradients", "steps"] = "gradients"
    retain_weight: float = 0.0

    def check(self, model: GenerativeModel) -> None:
        """Settings that would do nothing, or something else, are refused."""
        super().check(model)
        choice(tuple(UNUSED), rule=self.rule)
        choice(("ascend", "descend"), sign=self.sign)
        choice(("global", "module", "leaf"), scope=self.scope)
        for name in UNUSED[self.rule]:
            if getattr(self, name) != getattr(GradientSurgery, name):
                raise ValueError(f"{name} means nothing with rule={self.rule!r}: leave it out.")
        if self.retain_gradients < 1:
            raise ValueError(f"retain_gradients must be at least 1, found {self.retain_gradients}.")
        after = self.rule == "metric" or self.incoming == "steps"
        if self.retain_weight and after and self.when == "always":
            raise ValueError(
                f"retain_weight={self.retain_weight} has no effect where steps are projected with "
                "when='always', which takes it out again: choose when='conflict'."
            )

    def gradients(
        self, model: GenerativeModel, prepared: Any, params: Params, batch: Batch, key: jax.Array
    ) -> StepGradients:
        """The gradient that would forget, and the one to be retained."""
        loss = training_loss(model, self.loss, self.through)
        ascend = self.sign == "ascend"
        forget_loss = negative(over_masked(loss)) if ascend else over_masked(loss)
        grads = forget_retain_grads(
            loss, params, batch.visited, batch.retain, key, forget_loss=forget_loss
        )
        retain_grads, k = grads.retain, self.retain_gradients
        if k > 1:
            retain_grads = gradients_of_parts(loss, params, batch.retain, key, k)
        value = -grads.forget_loss if ascend else grads.forget_loss
        metrics = {"forget_loss": value, "retain_loss": grads.retain_loss}
        return StepGradients(grads.forget, retain_grads, metrics)

    def optimizer(self, steps: Count) -> optax.GradientTransformation:
        """Adam; with rule="metric", the Adam that projects its own steps."""
        adam = projected_adam(self.learning_rate, when=self.when)
        return adam if self.rule == "metric" else super().optimizer(steps)

    def transform(
        self, optimizer: optax.GradientTransformation, params: Params, steps: Count
    ) -> optax.GradientTransformationExtraArgs:
        """Projection and optimiser in the chosen order."""
        weighs = is_traced(self.retain_weight) or self.retain_weight
        retain = [add_retain_gradient(self.retain_weight)] if weighs else []
        scope = modules(params) if self.scope == "module" else self.scope
        if self.rule == "project":
            projection = project_conflicting(when=self.when, scope=scope, incoming=self.incoming)
        elif self.rule in RULES:
            projection = RULES[self.rule]()
        else:
            check_projects(optimizer, params)
            projection = optax.identity()
        if self.incoming == "steps":
            return optax.chain(*retain, optimizer, projection, measure_conflict())
        return optax.chain(projection, *retain, optimizer, measure_conflict())


def is_traced(value: Any) -> bool:
    """Whether a setting is one of many under one program, so that none can be branched on."""
    return isinstance(value, jax.core.Tracer)


def check_projects(optimizer: optax.GradientTransformation, params: Params) -> None:
    """Raises ValueError unless `optimizer` projects its own steps."""
    state = jax.eval_shape(optimizer.init, params)
    if not optax.tree.get_all_with_path(state, "projected"):
        raise ValueError(
            "rule='metric' is inside the optimiser: give projected_adam(...), or no optimizer."
        )


def modules(params: Params) -> Any:
    """A label for each array of `params`: the path of its parent, so of the layer it belongs to."""
    return jax.tree_util.tree_map_with_path(lambda path, _: jax.tree_util.keystr(path[:-1]), params)


def negative(loss: Loss) -> Loss:
    """Minus `loss`: descending it ascends `loss`."""
    return lambda params, batch, key: -loss(params, batch, key)


def gradients_of_parts(
    loss: Loss, params: Params, images: jax.Array, key: jax.Array, k: int
) -> Params:
    """The gradients of `loss` on k equal parts of `images`: leaves get a leading axis k."""
    if len(images) % k:
        raise ValueError(
            f"retain_gradients={k} must divide the retain batch of {len(images)} images: choose "
            f"retain_batch_size a multiple of {k}."
        )
    parts = images.reshape(k, len(images) // k, *images.shape[1:])
    keys = jax.random.split(key, k)
    return jax.vmap(lambda part, key: jax.grad(loss)(params, part, key))(parts, keys)
