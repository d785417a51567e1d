"""How long is a step? Gradient ascent, surgery and redirect on the MLP VAE, as ratios to ascent.

Methods by their names are what `unlearn` runs; gradient_surgery is the leaf-by-leaf projection with
`measure_conflict` behind it.
Run it on a quiet machine; the load is written down with the result.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import paired
import tyro
from jax.flatten_util import ravel_pytree

from gsu_jax.batches import EpochRoom, EpochSizes, epoch_order
from gsu_jax.compiled import Compiled
from gsu_jax.generative import GenerativeModel
from gsu_jax.image_sets import join
from gsu_jax.methods import GradientAscent, GradientSurgery, Method, RedirectSurgery
from gsu_jax.models import mlp_vae
from gsu_jax.placement import Placement
from gsu_jax.stepping import stepper
from gsu_jax.transforms import add_retain_gradient, project_conflicting
from gsu_jax.unlearning_step import begin, take_step

# Dozens of steps of ascent at a real rate give a diverged network, and time its infinities.
TINY = 1e-9


@dataclass(frozen=True)
class Arguments:
    """What is measured, and how often."""

    rounds: int = 60
    """Times that each kind of step is timed."""
    steps: int = 3
    """Steps in one timed call, compiled as one scan."""
    batch_size: int = 128
    """Images of each set in a step; redirect_surgery takes its own share of each."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("benchmarks/results/step.json")
    """The JSON file to write."""

    def __post_init__(self) -> None:
        paired.check_counts(self, "rounds", "steps", "batch_size")


@dataclass(frozen=True)
class TwoGradients(GradientSurgery):
    """Both gradients, summed: what surgery costs before any projection.

    Summed, since XLA drops a gradient that is not used.
    """

    def transform(self, optimizer, params, steps):
        """The sum, then the optimiser."""
        return optax.chain(add_retain_gradient(1.0), optimizer)


@dataclass(frozen=True)
class LeafwiseProjection(GradientSurgery):
    """`GradientSurgery` without `measure_conflict` at the end of its chain."""

    def transform(self, optimizer, params, steps):
        """The projection, then the optimiser."""
        return optax.chain(project_conflicting(when=self.when), optimizer)


@dataclass(frozen=True)
class RavelledProjection(GradientSurgery):
    """The projection as it is defined: both gradients as single vectors."""

    def transform(self, optimizer, params, steps):
        """The projection, then the optimiser."""

        def project(updates, state, params=None, *, retain_grads, **extra_args):
            u, unravel = ravel_pytree(updates)
            r, _ = ravel_pytree(retain_grads)
            return unravel(u - (jnp.dot(u, r) / jnp.dot(r, r)) * r), state

        ravelled = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), project)
        return optax.chain(ravelled, optimizer)


KINDS: dict[str, Method] = {
    "gradient_ascent": GradientAscent(learning_rate=TINY),
    "two gradients, summed": TwoGradients(learning_rate=TINY),
    "projection, leaf by leaf": LeafwiseProjection(learning_rate=TINY),
    "projection, ravelled": RavelledProjection(learning_rate=TINY),
    "gradient_surgery": GradientSurgery(learning_rate=TINY),
    "redirect_surgery": RedirectSurgery(learning_rate=TINY),
}


@dataclass(frozen=True)
class Timed:
    """A compiled call of `steps` steps with its arguments."""

    forget_batch: int
    retain_batch: int
    compile_seconds: float
    program: Compiled
    arguments: tuple

    def milliseconds(self, steps: int) -> float:
        """Of one step, the device synchronised before and after."""
        start = time.perf_counter()
        jax.block_until_ready(self.program(*self.arguments))
        return 1e3 * (time.perf_counter() - start) / steps


def main(arguments: Arguments) -> None:
    paired.prepare(arguments.out)
    model = mlp_vae()
    kinds = {name: compiled(model, method, arguments) for name, method in KINDS.items()}
    before = paired.load()
    clocks = {name: partial(kind.milliseconds, arguments.steps) for name, kind in kinds.items()}
    rounds = paired.time_rounds(clocks, arguments.rounds)
    rows = [row(name, kind, rounds) for name, kind in kinds.items()]
    print(table(rows))
    paired.write(arguments, "step", "MLP VAE 784-400-400-20, float32, Adam", rows, before)


def compiled(model: GenerativeModel, method: Method, arguments: Arguments) -> Timed:
    """The steps of `method` as `unlearn` runs them: a scan over batches gathered on the device."""
    shape = (28, 28, 1)
    step, call, sizes = steps_of(model, method, shape, arguments.batch_size, arguments.steps)
    program = stepper(step)
    compile_seconds = program.compile(*call)
    return Timed(sizes.batch, sizes.retain_batch, compile_seconds, program, call)


def steps_of(
    model: GenerativeModel, method: Method, shape: tuple[int, ...], batch_size: int, steps: int
) -> tuple[Callable, tuple, EpochSizes]:
    """`step(carry, x, shared)`, the arguments `(carry, xs, shared)` of an epoch, and its sizes."""
    # A method with batches of its own keeps their share of the default's 128.
    forget_batch = -(-method.batch_size * batch_size // Method.batch_size)
    own = method.retain_batch_size or method.batch_size
    retain_batch = -(-own * batch_size // Method.batch_size)
    images = steps * batch_size
    key = jax.random.key(0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, images, *shape), np.uint8)
    sets = jax.tree.map(jnp.asarray, join(*pixels))
    sizes = EpochSizes(images, forget_batch, images, retain_batch, steps)
    room = EpochRoom(steps, forget_batch, retain_batch, images)
    run = (model, method, None, Placement())
    carry, prepared = jax.jit(partial(begin, *run))(jax.jit(model.init)(key), sets, steps, key)
    call = (carry, epoch_order(key, 0, sizes, room), (sets, steps, prepared, key))
    return partial(take_step, *run), call, sizes


def row(name: str, kind: Timed, rounds: list[paired.Round]) -> dict[str, Any]:
    """What the table and the JSON say of one kind of step."""
    return {
        "step": name,
        "forget_batch": kind.forget_batch,
        "retain_batch": kind.retain_batch,
        "milliseconds": paired.spread([one[name] for one in rounds]),
        "ratio": paired.ratios(rounds, name, base=next(iter(KINDS))),
        "compile_seconds": kind.compile_seconds,
        "rounds": [one[name] for one in rounds],
    }


def table(rows: list[dict[str, Any]]) -> str:
    head = ("step", "forget", "retain", "ms", "(min .. max)", "x ascent", "(min .. max)", "compile")
    lines = [head]
    for one in rows:
        cells = (one["step"], str(one["forget_batch"]), str(one["retain_batch"]))
        spreads = (*paired.with_range(one["milliseconds"]), *paired.with_range(one["ratio"]))
        lines.append((*cells, *spreads, f"{one['compile_seconds']:.1f} s"))
    return paired.aligned(lines)


if __name__ == "__main__":
    paired.command_line(main, Arguments, __doc__)
