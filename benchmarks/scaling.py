"""What does a step of surgery cost on many accelerators? Counted, predicted, and checked here.

Counted from compiled programs: floating-point operations, and what eight simulated devices
exchange. Predicted from those formulas and a data sheet: the time of a step on 1 to 512 devices.
Checked on this machine: that a step's time follows its operations from one size to another.
"""

import math
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
)

import jax
import numpy as np
import paired
import tyro
from collectives import collectives

from gsu_jax.data import concatenate
from gsu_jax.methods import GradientAscent, GradientSurgery, Method
from gsu_jax.networks import MLPVAEConfig, mlp_vae
from gsu_jax.runtime import Placement, make_mesh
from gsu_jax.unlearning import (
    EpochShape,
    EpochSizes,
    RunConstants,
    epoch_order,
    gather_images,
    initialize,
    take_step,
)

SHAPE = (28, 28, 1)
TINY = 1e-9  # a rate at which ascent does not diverge while it is timed
METHODS = {"ascent": GradientAscent(learning_rate=TINY), "surgery": GradientSurgery(TINY)}


@dataclass(frozen=True)
class Accelerator:
    """A data sheet: NVIDIA H100 SXM5, in units and bytes a second."""

    flops: float = 494e12  # TF32, dense: what JAX multiplies float32 matrices in by default
    memory: float = 3.35e12  # bytes/s
    size: float = 80e9  # bytes
    inside: float = 450e9  # bytes/s to the others of a machine of eight, each way
    outside: float = 50e9  # bytes/s to other machines, each of eight by its own link
    reached: float = 0.4  # share of `flops` that training reaches, an assumption
    moved: float = 0.7  # share of the three rates of bytes, an assumption


@dataclass(frozen=True)
class Arguments:
    """What is counted and timed."""

    widths: tuple[int, ...] = (200, 400, 800, 1600)
    """Hidden widths of the MLP VAE."""
    batch_size: int = 128
    """Images of each set in a step that is counted or timed."""
    global_batch: int = 1024
    """Images of each set in a step that is predicted."""
    rounds: int = 9
    """Times that each size is timed."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("benchmarks/results/scaling.json")
    """The JSON file to write."""

    def __post_init__(self) -> None:
        paired.check_counts(self, "batch_size", "global_batch", "rounds")
        if not self.widths or min(self.widths) < 8:
            raise ValueError(f"widths must be at least 8 each, found {self.widths}.")
        if self.batch_size % 8:
            raise ValueError(f"batch_size must be a multiple of 8, found {self.batch_size}.")


def main(arguments: Arguments) -> None:
    paired.prepare(arguments.out)
    before = paired.load()
    sizes, programs = [], {}
    for width in arguments.widths:
        for name, method in METHODS.items():
            program, call, parameters = compiled(width, method, arguments.batch_size)
            formula = flops(parameters, arguments.batch_size, 2 if name == "surgery" else 1)
            counted = program.cost_analysis()["flops"]
            one = {"width": width, "step": name, "parameters": parameters}
            sizes.append(one | {"flops": counted, "over_formula": counted / formula})
            programs[f"{name} {width}"] = partial(seconds, program, call)
    rounds = paired.time_rounds(programs, arguments.rounds)
    base = f"surgery {arguments.widths[-1]}"
    per_flop = {f"{s['step']} {s['width']}": s["flops"] for s in sizes}
    for size in sizes:
        name = f"{size['step']} {size['width']}"
        expected = per_flop[name] / per_flop[base]
        ratios = [one[name] / one[base] / expected for one in rounds]
        size["time_over_expected"] = paired.spread(ratios)
    print(counted_table(sizes), "\n")
    exchanged = [exchange(mesh, arguments) for mesh in ("data=8", "data=4,model=2")]
    print(exchange_table(exchanged), "\n")
    predicted = predictions(arguments.global_batch)
    print(predicted_table(predicted))
    rows = [{"kind": "counted", **one} for one in sizes]
    rows += [{"kind": "exchanged", **one} for one in exchanged]
    rows += [{"kind": "predicted", **one} for one in predicted]
    paired.write(arguments, "scaling", "MLP VAE 784-w-w-20, float32, Adam", rows, before)


def flops(parameters: float, batch: int, gradients: int, reuse: float = 1.0) -> float:
    """6 P r B for each gradient: every weight is multiplied r times an image, two passes back."""
    return 6.0 * parameters * reuse * batch * gradients


def compiled(
    width: int, method: Method, batch: int, mesh: jax.sharding.Mesh | None = None
) -> tuple[Any, tuple, int]:
    """One step, compiled as it runs on a mesh, with its arguments and the model's parameters."""
    model = mlp_vae(MLPVAEConfig(image_shape=SHAPE, widths=(width, width)))
    place, key = Placement(mesh), jax.random.key(0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, batch, *SHAPE), np.uint8)
    joined = concatenate(*pixels, place.devices)
    sets = joined._replace(images=place.images(joined.images))
    sizes = EpochSizes(batch, batch, batch, batch, 1, first_retained=batch)
    order = epoch_order(key, 0, sizes, EpochShape(1, batch, batch, batch))
    params = place.parameters(jax.jit(model.init)(key))
    run = (model, method, None, place)
    carry, prepared = jax.jit(partial(initialize, *run))(params, sets, 1, key)
    images, inputs = gather_images(order, joined, sets, 1, place)
    call = carry, jax.tree.map(lambda x: x[0], inputs), RunConstants(images, 1, prepared, key)
    program = jax.jit(partial(take_step, *run)).lower(*call).compile()
    return program, call, sum(leaf.size for leaf in jax.tree.leaves(params))


def seconds(program: Any, call: tuple) -> float:
    start = time.perf_counter()
    jax.block_until_ready(program(*call))
    return time.perf_counter() - start


def exchange(mesh: str, arguments: Arguments) -> dict[str, Any]:
    """What a step of surgery exchanges on eight simulated devices, beside the formula."""
    width = 400
    program, _, parameters = compiled(
        width, METHODS["surgery"], arguments.batch_size, make_mesh(mesh)
    )
    found = collectives(program)
    split = make_mesh(mesh).shape.get("model", 1)
    reduced = sum(one.bytes for one in found if one.kind == "all-reduce")
    kinds = sorted({one.kind for one in found})
    return {
        "mesh": mesh,
        "collectives": {kind: sum(one.kind == kind for one in found) for kind in kinds},
        "bytes": sum(one.bytes for one in found),
        "reduced_bytes": reduced,
        "formula_bytes": 2 * 4 * parameters / split,
    }


def predictions(batch: int, chip: Accelerator | None = None) -> list[dict[str, Any]]:
    """A step of surgery in float32 with Adam, at a fixed global batch of each set.

    - arithmetic: 12 P r B / N operations;
    - memory: 14 passes over the device's P / M parameters: two gradients written, 2 reads for the
      inner products, 2 reads and a write to apply, 4 reads and 3 writes of Adam;
    - data axis: two gradients of 4 P / M bytes in a ring, 2 (D - 1) / D of them;
    - model axis: activations of each of L layers, forward and back for both gradients, in a ring.

    Exchanges are taken not to overlap with anything: the worst case.
    """
    chip = chip or Accelerator()
    rows = []
    for parameters, layers in ((1e8, 10), (1e10, 40)):
        width = math.sqrt(parameters / layers)
        state = 20 * parameters  # theta, m, v and two gradients, 4 bytes each
        least = 2 ** max(math.ceil(math.log2(state / (0.75 * chip.size))), 0)
        for reuse in (1, 256):
            for devices in (1, 8, 64, 512):
                row = {"parameters": parameters, "reuse": reuse, "devices": devices}
                if devices < least:
                    rows.append(row | {"fits": False, "least_devices": least})
                    continue
                model, data = least, devices // least
                # Rings between machines go through the links of all devices that share a shard.
                link = chip.inside if devices <= 8 else 8 / model * chip.outside
                parts = {
                    "arithmetic": flops(parameters, batch, 2, reuse)
                    / devices / (chip.flops * chip.reached),
                    "memory": 14 * 4 * parameters / model / (chip.memory * chip.moved),
                    "data": 2 * (data - 1) / data * 2 * 4 * parameters / model
                    / (link * chip.moved),
                    "model": 2 * (model - 1) / model * 4 * layers * batch * reuse / data * width
                    * 4 / (chip.inside * chip.moved),
                }  # fmt: skip
                row |= {"fits": True, "mesh": f"data={data},model={model}"} | parts
                rows.append(row | {"seconds": sum(parts.values())})
    return rows


def counted_table(sizes: list[dict[str, Any]]) -> str:
    lines = [
        ("step", "width", "parameters", "GFLOP", "over 6 P B", "time over expected", "(range)")
    ]
    for one in sizes:
        head = (one["step"], str(one["width"]), f"{one['parameters']:.2e}")
        counts = (f"{one['flops'] / 1e9:.2f}", f"{one['over_formula']:.3f}")
        lines.append((*head, *counts, *paired.with_range(one["time_over_expected"])))
    return paired.aligned(lines)


def exchange_table(rows: list[dict[str, Any]]) -> str:
    lines = [("mesh", "collectives", "KiB", "of it reduced", "two gradients")]
    for one in rows:
        kinds = ", ".join(f"{count} {kind}" for kind, count in one["collectives"].items())
        sizes = (one["bytes"], one["reduced_bytes"], one["formula_bytes"])
        lines.append((one["mesh"], kinds, *(f"{size / 1024:.1f}" for size in sizes)))
    return paired.aligned(lines)


def predicted_table(rows: list[dict[str, Any]]) -> str:
    parts = ("arithmetic", "memory", "data", "model")
    lines = [("parameters", "r", "devices", "mesh", *(f"{p} ms" for p in parts), "step ms")]
    for one in rows:
        head = (f"{one['parameters']:.0e}", str(one["reuse"]), str(one["devices"]))
        if not one["fits"]:
            lines.append((*head, f"needs {one['least_devices']}", *"----", "-"))
            continue
        times = (f"{1e3 * one[part]:.2f}" for part in (*parts, "seconds"))
        lines.append((*head, one["mesh"], *times))
    return paired.aligned(lines)


if __name__ == "__main__":
    paired.command_line(main, Arguments, __doc__)
