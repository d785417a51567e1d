"""The paper's method: forget along the normal plane of the retain gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import at_least, at_most, choice, is_traced, whole
from gsu_jax.data import Examples, ImageSet
from gsu_jax.methods._measured_scope import Layers, Variant, choose_layers, project_measured
from gsu_jax.methods._method import Batch, StepGradients
from gsu_jax.methods._two_gradients import TwoGradients, check_weight_acts, weighted_retain
from gsu_jax.methods.ingredients import MaskedBatch, Window, check_window
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.surgery import (
    LayerConflictsState,
    layer_conflicts,
    layer_labels,
    measure_conflict,
    project_conflicting,
)

# The settings that act with scope="measured" alone.
MEASURED = ("variant", "conflict_layers", "conflict_threshold", "conflict_batches")


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
            one parent in the parameter tree), or for each "leaf"; or by the layers' conflict,
            "measured" at the trained parameters before the first step (Recon).
        retain_gradients: 1, or k: the retain batch is cut into k parts. "always" projects out the
            span of their gradients, "conflict" projects onto their cone. k must divide the batch.
        incoming: project the "gradients" before the optimizer, or its "steps" after it.
        retain_weight: lambda of a <- surgery(a) + lambda r (Ko et al. 2024); 0 is the paper. A
            projection of the steps "always" would take r out again: then choose "conflict".
        variant: what scope="measured" does with the K layers it chooses. "private": the K layers
            of most conflict have an inner product each, all others share one. "remove": these K
            layers are not moved to forget; the others are projected together. "salient": only K
            layers are moved to forget, those of the largest |a| among the layers with a mean
            cosine of at least S. In each case, `retain_weight` trains every layer on.
        conflict_layers: K.
        conflict_threshold: S; a batch in which cos(a, r) of a layer is below S is a conflict.
        conflict_batches: how many pairs of batches measure it; each costs as much as a step.
        window: of a diffusion model, (low, high): l_f is the part of the bound between these noise
            levels gamma. None for the model's own loss, l_r has it in any case.

    Raises:
        ValueError: a setting is none of its choices or out of range, acts with scope="measured"
            alone, or does not go with it.

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
        Shi et al., `Recon: Reducing Conflicting Gradients from the Root for Multi-Task Learning
        <https://arxiv.org/abs/2302.11289>`_, 2023.
    """

    name: ClassVar[str] = "gradient_surgery"
    retired: ClassVar[Mapping[str, Any]] = {"rule": "project"}
    added: ClassVar[tuple[str, ...]] = (*MEASURED, "window")

    sign: Literal["ascend", "descend"] = "ascend"
    when: Literal["always", "conflict"] = "always"
    scope: Literal["global", "module", "leaf", "measured"] = "global"
    retain_gradients: int = 1
    incoming: Literal["gradients", "steps"] = "gradients"
    retain_weight: float = 0.0
    variant: Variant = "private"
    conflict_layers: int = 2
    conflict_threshold: float = 0.0
    conflict_batches: int = 32
    window: Window | None = None

    def __post_init__(self) -> None:
        choice(("ascend", "descend"), sign=self.sign)
        choice(("always", "conflict"), when=self.when)
        choice(("global", "module", "leaf", "measured"), scope=self.scope)
        choice(("gradients", "steps"), incoming=self.incoming)
        whole(1, retain_gradients=self.retain_gradients)
        self._check_measured()
        if self.window is not None:
            if (self.loss, self.through) != ("elbo", "model"):
                raise ValueError(
                    'window needs loss="elbo" and through="model", a diffusion model having no '
                    f"encoder, got loss={self.loss!r} and through={self.through!r}"
                )
            object.__setattr__(self, "window", check_window(self.window))

    def _check_measured(self) -> None:
        """Checks the settings of scope="measured"."""
        choice(("private", "remove", "salient"), variant=self.variant)
        at_least(1, conflict_layers=self.conflict_layers, conflict_batches=self.conflict_batches)
        at_least(-1, conflict_threshold=self.conflict_threshold)
        at_most(1, conflict_threshold=self.conflict_threshold)
        if self.scope != "measured":
            for name in MEASURED:
                got, default = getattr(self, name), getattr(GradientSurgery, name)
                if not is_traced(got) and got != default:
                    raise ValueError(
                        f'{name} acts with scope="measured" alone, got {got!r} with '
                        f'scope="{self.scope}"'
                    )
            return
        if not is_traced(self.retain_gradients) and self.retain_gradients > 1:
            raise ValueError(
                'retain_gradients must be 1 with scope="measured", which has several inner '
                f"products, got {self.retain_gradients}"
            )
        if self.incoming == "steps" and self.variant != "private":
            raise ValueError(
                f'incoming must be "gradients" with variant="{self.variant}", got "steps": a '
                "step of the optimizer no longer tells what forgets from what retains"
            )

    def check(self, model) -> None:
        """Checks that the model has what the loss needs, and that `retain_weight` has an effect."""
        super().check(model)
        if self.window is not None:
            model.require("denoise", needed_by=f"{self.name} with window={self.window}")
        if self.incoming == "steps":
            check_weight_acts(self.retain_weight, self.when)

    def prepare(self, model, params, forget, retain, key) -> Layers | None:
        """Chooses the layers for scope="measured"."""
        if self.scope != "measured":
            return None
        layers = len(set(jax.tree.leaves(layer_labels(params))))
        # Of "remove", one layer must be left that forgets.
        at_most(layers - (self.variant == "remove"), conflict_layers=self.conflict_layers)
        return self.choose_layers(self.measure_layers(model, params, forget, retain, key))

    def gradients(self, model, prepared, params, batch, key) -> StepGradients:
        """Returns the forget gradient, with its sign, and the retain gradient."""
        step = super().gradients(model, prepared, params, batch, key)
        if prepared is not None:
            # With dots, as in `conflict_metrics`.
            chosen = {
                f"chosen {layer.replace('/', '.')}": is_chosen.astype(jnp.float32)
                for layer, is_chosen in prepared.items()
            }
            step = step._replace(metrics=step.metrics | chosen, extra={"layers": prepared})
        if self.sign == "ascend":
            return step
        return step._replace(updates=jax.tree.map(jnp.negative, step.updates))

    def measure_layers(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet | Examples,
        retain: ImageSet | Examples,
        key: jax.Array,
    ) -> LayerConflictsState:
        """Measures the conflict of each layer at `params`, without taking a step.

        The batches are drawn with replacement from both sets. A layer is the arrays of one parent.

        Args:
            model: The generative model.
            params: Its trained parameters.
            forget: What is to be forgotten.
            retain: What is to be retained.
            key: The key of the batches and of the noise in the loss.

        Returns:
            What `gsu_jax.layer_conflicts` counted over `conflict_batches` pairs of batches.
        """
        forget, retain = ImageSet.of(forget), ImageSet.of(retain)
        counter = layer_conflicts("module", threshold=self.conflict_threshold)

        def drawn(images: ImageSet, key: jax.Array, size: int) -> tuple[jax.Array, Examples]:
            indices = jax.random.randint(key, (min(size, images.capacity),), 0, images.count)
            return indices, images.take(indices)

        def count(number, state):
            forget_key, retain_key, key_ = jax.random.split(jax.random.fold_in(key, number), 3)
            indices, visited = drawn(forget, forget_key, self.batch_size)
            _, kept = drawn(retain, retain_key, self.retain_batch_size or self.batch_size)
            mask = jnp.ones(len(indices), jnp.float32)
            batch = Batch(MaskedBatch(visited, mask), indices, kept)
            grads = self.gradients(model, None, params, batch, key_)
            return counter.update(grads.updates, state, retain_grads=grads.retain_grads)[1]

        return jax.lax.fori_loop(0, self.conflict_batches, count, counter.init(params))

    def choose_layers(self, state: LayerConflictsState) -> Layers:
        """Returns for each layer whether `variant` treats it apart, given what was measured."""
        return choose_layers(self.variant, state, self.conflict_layers, self.conflict_threshold)

    def transform(self, optimizer, params, steps) -> optax.GradientTransformationExtraArgs:
        """The projection and the optimizer, in the order that `incoming` says."""
        if self.scope == "measured":
            projection = optax.chain(
                layer_conflicts(threshold=self.conflict_threshold, incoming=self.incoming),
                project_measured(layer_labels(params), self.variant, self.when, self.incoming),
            )
        else:
            scope = layer_labels(params) if self.scope == "module" else self.scope
            projection = project_conflicting(when=self.when, scope=scope, incoming=self.incoming)
        retain = weighted_retain(self.retain_weight)
        if self.incoming == "steps":
            return optax.chain(retain, optimizer, projection, measure_conflict())
        return optax.chain(projection, retain, optimizer, measure_conflict())
