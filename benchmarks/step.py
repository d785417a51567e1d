"""How long is a step? Ascent, surgery, redirect and UNO, as ratios to ascent of the same round.

Methods by their names are what `unlearn` runs; gradient_surgery is the leaf-by-leaf projection with
`measure_conflict` behind it, and its ratio to both gradients summed is what surgery itself costs.
--dtype is that of the computation: parameters, gradients and the optimizer stay float32.
With --memory, also what XLA reserves for one step, and its ratio to both gradients summed.
Methods that cannot work on a model are left out: on diffusion redirect_surgery, on a VAE
redirect_diffusion. Run it on a quiet machine; the load is written down with the result.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import paired
import tyro
from jax.flatten_util import ravel_pytree
from reserved import MIB, bytes_of_step, memory_over

from gsu_jax.data import concatenate
from gsu_jax.methods import (
    UNO,
    GradientAscent,
    GradientSurgery,
    Method,
    RedirectDiffusion,
    RedirectSurgery,
    can_work_on,
)
from gsu_jax.models import (
    ConvVAEConfig,
    GenerativeModel,
    MLPVAEConfig,
    TransformerDiffusionConfig,
)
from gsu_jax.networks import conv_vae, mlp_vae, transformer_diffusion
from gsu_jax.runtime import Compiled, Placement, scan_steps
from gsu_jax.surgery import add_retain_gradient, project_conflicting
from gsu_jax.unlearning import (
    EpochShape,
    EpochSizes,
    RunConstants,
    epoch_order,
    initialize,
    take_step,
)

# Dozens of steps of ascent at a real rate give a diverged network, and time its infinities.
TINY = 1e-9


MODELS = {
    "mlp": ("MLP VAE 784-400-400-20", (28, 28, 1)),
    "conv": ("convolutional VAE, 32x32x3", (32, 32, 3)),
    "diffusion": ("diffusion transformer, 28x28, 16 patches", (28, 28, 1)),
}
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Arguments:
    """What is measured, and how often."""

    models: tuple[Literal["mlp", "conv", "diffusion"], ...] = ("mlp",)
    """The VAE of mnist138.py, the convolutional one of faces.py at 32x32, and the model of
    diffusion.py."""
    batch_sizes: tuple[int, ...] = (32, 128, 512)
    """Images of each set in a step; redirect_surgery takes its own share of each."""
    dtypes: tuple[Dtype, ...] = ("float32",)
    """Of the computation; parameters, gradients and the optimizer's state are float32."""
    only: tuple[str, ...] = ()
    """Kinds of step, by their names in the table, to leave out the others; ascent and the two
    gradients summed, the bases of ratios, are always there."""
    rounds: int = 30
    """Times that each kind of step is timed."""
    steps: int = 3
    """Steps in one timed call: one scan, or one by one for convolutions on a CPU."""
    memory: bool = False
    """Also compile each kind of step alone and read what XLA reserves for it; no step is run."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("benchmarks/results/step.json")
    """The JSON file to write."""

    def __post_init__(self) -> None:
        paired.check_counts(self, "rounds", "steps")
        if min(self.batch_sizes, default=0) < 1:
            raise ValueError(
                f"batch_sizes must be one number or more, from 1 on, found {self.batch_sizes}."
            )
        if strangers := [name for name in self.only if name not in KINDS]:
            raise ValueError(
                f"only: there is no step {strangers[0]!r}. There is: {', '.join(KINDS)}."
            )


@dataclass(frozen=True)
class TwoGradients(GradientSurgery):
    """Both gradients, summed: what surgery costs before any projection.

    Summed, since XLA drops a gradient that is not used.
    """

    def transform(self, optimizer, params, steps):
        """The sum, then the optimizer."""
        return optax.chain(add_retain_gradient(1.0), optimizer)


@dataclass(frozen=True)
class LeafwiseProjection(GradientSurgery):
    """`GradientSurgery` without `measure_conflict` at the end of its chain."""

    def transform(self, optimizer, params, steps):
        """The projection, then the optimizer."""
        return optax.chain(project_conflicting(when=self.when), optimizer)


@dataclass(frozen=True)
class RavelledProjection(GradientSurgery):
    """The projection as it is defined: both gradients as single vectors."""

    def transform(self, optimizer, params, steps):
        """The projection, then the optimizer."""

        def project(updates, state, params=None, *, retain_grads, **extra_args):
            u, unravel = ravel_pytree(updates)
            r, _ = ravel_pytree(retain_grads)
            return unravel(u - (jnp.dot(u, r) / jnp.dot(r, r)) * r), state

        ravelled = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), project)
        return optax.chain(ravelled, optimizer)


ASCENT, SUMMED = "gradient_ascent", "two gradients, summed"
KINDS: dict[str, Method] = {
    ASCENT: GradientAscent(learning_rate=TINY),
    SUMMED: TwoGradients(learning_rate=TINY),
    "projection, leaf by leaf": LeafwiseProjection(learning_rate=TINY),
    "projection, ravelled": RavelledProjection(learning_rate=TINY),
    "gradient_surgery": GradientSurgery(learning_rate=TINY),
    "redirect_surgery": RedirectSurgery(learning_rate=TINY),
    "uno": UNO(learning_rate=TINY),
    # Its guide is trained before the steps, not in them.
    "redirect_diffusion": RedirectDiffusion(
        learning_rate=TINY, guide_steps=1, fitted_images=RedirectDiffusion.batch_size
    ),
}


@dataclass(frozen=True)
class Timed:
    """A compiled call of `steps` steps with its arguments.

    `memory` has the bytes of one step, or nothing if they were not asked for.
    """

    forget_batch: int
    retain_batch: int
    compile_seconds: float
    program: Compiled
    arguments: tuple
    memory: dict[str, int]

    def milliseconds(self, steps: int) -> float:
        """Of one step, the device synchronized before and after."""
        start = time.perf_counter()
        jax.block_until_ready(self.program(*self.arguments))
        return 1e3 * (time.perf_counter() - start) / steps


def main(arguments: Arguments) -> None:
    paired.prepare(arguments.out)
    before = paired.load()
    settings = product(arguments.models, arguments.dtypes, arguments.batch_sizes)
    rows = [row for setting in settings for row in measured(*setting, arguments)]
    models = "; ".join(MODELS[name][0] for name in arguments.models)
    paired.write(arguments, "step", f"{models}; Adam", rows, before)


def measured(
    name: str, dtype: Dtype, batch_size: int, arguments: Arguments
) -> list[dict[str, Any]]:
    """A row for each kind of step, all timed in the same rounds; prints them."""
    description, shape = MODELS[name]
    model = build(name, dtype)
    kinds = {
        kind: compiled(model, method, shape, batch_size, arguments.steps, arguments.memory)
        for kind, method in KINDS.items()
        if not arguments.only or kind in (ASCENT, SUMMED, *arguments.only)
        if can_work_on(method, model)
    }
    clocks = {kind: partial(one.milliseconds, arguments.steps) for kind, one in kinds.items()}
    rounds = paired.time_rounds(clocks, arguments.rounds)
    setting = {"model": name, "dtype": dtype, "batch_size": batch_size}
    rows = [
        setting | row(kind, one, rounds) | memory_over(one.memory, kinds[SUMMED].memory)
        for kind, one in kinds.items()
    ]
    print(f"\n{description}, computed in {dtype}, batches of {batch_size}\n\n{table(rows)}")
    return rows


def build(name: str, dtype: Dtype) -> GenerativeModel:
    if name == "mlp":
        return mlp_vae(MLPVAEConfig(dtype=dtype))
    if name == "diffusion":
        return transformer_diffusion(TransformerDiffusionConfig(gamma_min=-10.0, dtype=dtype))
    return conv_vae(ConvVAEConfig(image_shape=MODELS[name][1], dtype=dtype))


def compiled(
    model: GenerativeModel,
    method: Method,
    shape: tuple[int, ...],
    batch_size: int,
    steps: int,
    memory: bool,
) -> Timed:
    """The steps of `method` as `unlearn` runs them: over batches gathered on the device."""
    step, call, sizes = steps_of(model, method, shape, batch_size, steps)
    program = Compiled(scan_steps(step))
    compile_seconds = program.compile(*call)
    reserved = bytes_of_step(step, call) if memory else {}
    return Timed(sizes.batch, sizes.retain_batch, compile_seconds, program, call, reserved)


def steps_of(
    model: GenerativeModel, method: Method, shape: tuple[int, ...], batch_size: int, steps: int
) -> tuple[Callable, tuple, EpochSizes]:
    """`step(carry, inputs, constants)`, these arguments for an epoch, and its sizes."""
    # A method with batches of its own keeps their share of the default's 128.
    forget_batch = -(-method.batch_size * batch_size // Method.batch_size)
    own = method.retain_batch_size or method.batch_size
    retain_batch = -(-own * batch_size // Method.batch_size)
    images = steps * batch_size
    key = jax.random.key(0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, images, *shape), np.uint8)
    sets = jax.tree.map(jnp.asarray, concatenate(*pixels))
    sizes = EpochSizes(images, forget_batch, images, retain_batch, steps, first_retained=images)
    padded = EpochShape(steps, forget_batch, retain_batch, images)
    run = (model, method, None, Placement())
    carry, prepared = jax.jit(partial(initialize, *run))(jax.jit(model.init)(key), sets, steps, key)
    constants = RunConstants(sets.images, steps, prepared, key)
    return partial(take_step, *run), (carry, epoch_order(key, 0, sizes, padded), constants), sizes


def row(name: str, kind: Timed, rounds: list[paired.Round]) -> dict[str, Any]:
    """What the table and the JSON say of one kind of step."""
    return {
        "step": name,
        "forget_batch": kind.forget_batch,
        "retain_batch": kind.retain_batch,
        "milliseconds": paired.spread([one[name] for one in rounds]),
        "ratio": paired.ratios(rounds, name, base=ASCENT),
        "over_summed": paired.ratios(rounds, name, base=SUMMED),
        "compile_seconds": kind.compile_seconds,
        "rounds": [one[name] for one in rounds],
    }


def table(rows: list[dict[str, Any]]) -> str:
    spread = "(min .. max)"
    head = ("step", "forget", "retain", "ms", spread, "x ascent", spread, "x summed", spread)
    with_memory = "peak_bytes" in rows[0]
    lines = [(*head, "compile", *(("peak MiB", "x summed") if with_memory else ()))]
    for one in rows:
        cells = (one["step"], str(one["forget_batch"]), str(one["retain_batch"]))
        for name in ("milliseconds", "ratio", "over_summed"):
            cells += paired.with_range(one[name])
        cells = (*cells, f"{one['compile_seconds']:.1f} s")
        if with_memory:
            cells += (f"{one['peak_bytes'] / MIB:.1f}", f"{one['memory_over_summed']:.2f}")
        lines.append(cells)
    return paired.aligned(lines)


if __name__ == "__main__":
    paired.command_line(main, Arguments, __doc__)
