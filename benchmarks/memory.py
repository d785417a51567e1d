"""How much memory does a step take? One step of every method that has steps, compiled alone.

What XLA reserves for it, its carry donated: its arguments (parameters, optimizer, one batch of
images of each set, what the method prepared from these), and beside them its intermediate values.
`unlearn` holds the whole sets instead. No step is run, so a busy machine gives the same figures.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import paired
import tyro
from reserved import MIB, bytes_of_step
from step import MODELS, build, steps_of

from gsu_jax.methods import (
    METHODS,
    GradientSurgery,
    Method,
    StepGradients,
    can_work_on,
    get_method,
    negative,
)
from gsu_jax.methods.ingredients import over_masked
from gsu_jax.models import GenerativeModel
from gsu_jax.surgery import forget_retain_grads

BASE = "gradient_surgery"


@dataclass(frozen=True)
class Arguments:
    """What is compiled."""

    model: Literal["mlp", "conv", "diffusion"] = "mlp"
    """The VAE of mnist138.py, the convolutional one of faces.py at 32x32, or the model of
    diffusion.py."""
    methods: tuple[str, ...] = ("all",)
    """"all" that have steps, or names; gradient_surgery, the base of ratios, is always there."""
    batch_size: int = 128
    """Images of each set in a step; a method with batches of its own takes its share."""
    microbatch_size: int = 32
    """Images at a time in the last row; it must divide batch_size."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("benchmarks/results/memory.json")
    """The JSON file to write."""

    def __post_init__(self) -> None:
        paired.check_counts(self, "batch_size", "microbatch_size")
        if self.batch_size % self.microbatch_size:
            raise ValueError(
                f"microbatch_size {self.microbatch_size} does not divide batch_size "
                f"{self.batch_size}; give a divisor."
            )


@dataclass(frozen=True)
class Microbatched(GradientSurgery):
    """`GradientSurgery` with its gradients taken over slices of the batches."""

    name: ClassVar[str] = "gradient_surgery, microbatched"
    microbatch_size: int = 32

    def gradients(self, model, prepared, params, batch, key):
        """Both gradients, slice by slice."""
        grads = forget_retain_grads(
            model.loss,
            params,
            batch.visited,
            batch.retain,
            key,
            forget_loss=negative(over_masked(model.loss)),
            microbatch_size=self.microbatch_size,
        )
        return StepGradients(grads.forget, grads.retain, {"forget_loss": grads.forget_loss})


def main(arguments: Arguments) -> None:
    paired.prepare(arguments.out)
    description, shape = MODELS[arguments.model]
    model = build(arguments.model, "float32")
    methods = [method for method in chosen(arguments.methods) if has_steps(method)]
    methods = [method for method in methods if can_work_on(method, model)]
    methods.append(Microbatched(microbatch_size=arguments.microbatch_size))
    rows = [row(model, method, shape, arguments.batch_size) for method in methods]
    base = next(one["peak_bytes"] for one in rows if one["method"] == BASE)
    rows = [one | {"ratio": one["peak_bytes"] / base} for one in rows]
    print(table(rows))
    paired.write(arguments, "memory", f"{description}, float32, Adam", rows, paired.load())


def chosen(names: tuple[str, ...]) -> list[Method]:
    """The named methods in the order of `METHODS`, `BASE` with them."""
    wanted = {BASE, *(get_method(name).name for name in names if name != "all")}
    return [method() for name, method in METHODS.items() if "all" in names or name in wanted]


def has_steps(method: Method) -> bool:
    return method.visits != "nothing" and type(method).gradients is not Method.gradients


def row(
    model: GenerativeModel, method: Method, shape: tuple[int, ...], batch_size: int
) -> dict[str, Any]:
    """The bytes of one step, from the memory analysis of its compiled program."""
    step, call, _ = steps_of(model, method, shape, batch_size, steps=1)
    return {"method": method.name} | bytes_of_step(step, call)


def table(rows: list[dict[str, Any]]) -> str:
    lines = [("one step", "arguments MiB", "intermediates MiB", "peak MiB", f"x {BASE}")]
    for one in rows:
        sizes = (one[f"{kind}_bytes"] / MIB for kind in ("argument", "intermediate", "peak"))
        lines.append((one["method"], *(f"{size:.1f}" for size in sizes), f"{one['ratio']:.2f}"))
    return paired.aligned(lines)


if __name__ == "__main__":
    paired.command_line(main, Arguments, __doc__)
