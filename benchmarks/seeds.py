"""Are seeds faster together? Pre-training under one `vmap`, against one seed after the other.

The MLP VAE of mnist138.py, by the same `train_epoch` that the experiments run. On a GPU small
networks wait for launches, and ten seeds together should be four times faster or more; a CPU has
no idle units to fill.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import paired
import tyro

from gsu_jax.networks import mlp_vae
from gsu_jax.study import Recipe, start_training, train_epoch

TOGETHER, APART = "together", "one after the other"


@dataclass(frozen=True)
class Arguments:
    """What is measured, and how often."""

    seeds: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """How many seeds are trained."""
    steps: int = 10
    """Steps of each seed in one timed call."""
    batch_size: int = 128
    """Images in a step of one seed."""
    rounds: int = 5
    """Times that each kind is timed."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("benchmarks/results/seeds.json")
    """The JSON file to write."""

    def __post_init__(self) -> None:
        paired.check_counts(self, "steps", "batch_size", "rounds")
        if min(self.seeds, default=0) < 1:
            raise ValueError(f"seeds must be one count or more, from 1 on, found {self.seeds}.")


def main(arguments: Arguments) -> None:
    paired.prepare(arguments.out)
    before = paired.load()
    rows = [measured(count, arguments) for count in arguments.seeds]
    print(table(rows))
    paired.write(arguments, "seeds", "MLP VAE 784-400-400-20, float32, Adam", rows, before)


def measured(count: int, arguments: Arguments) -> dict[str, Any]:
    """Seconds of `steps` steps of so many seeds, together and one after the other."""
    model, recipe = mlp_vae(), Recipe(batch_size=arguments.batch_size)
    shape = (arguments.steps * arguments.batch_size, 28, 28, 1)
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    keys = jax.random.split(jax.random.key(0), count)

    def seconds(keys: jax.Array) -> float:
        state = start_training(model.init, recipe, keys)
        return train_epoch(model.loss, recipe, state, images, keys)[0].seconds

    kinds = {
        TOGETHER: lambda: seconds(keys),
        APART: lambda: sum(seconds(keys[i : i + 1]) for i in range(count)),
    }
    rounds = paired.time_rounds(kinds, arguments.rounds)
    return {
        "seeds": count,
        "seconds": {name: paired.spread([one[name] for one in rounds]) for name in kinds},
        "speedup": paired.ratios(rounds, APART, TOGETHER),
        "rounds": rounds,
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [("seeds", "ms together", "(min .. max)", "ms apart", "(min .. max)", "x faster", "")]
    for one in rows:
        times = [paired.with_range(one["seconds"][name], 1e3) for name in (TOGETHER, APART)]
        lines.append((str(one["seeds"]), *times[0], *times[1], *paired.with_range(one["speedup"])))
    return paired.aligned(lines)


if __name__ == "__main__":
    paired.command_line(main, Arguments, __doc__)
