"""What does a request cost, next to training anew? Whole calls of `unlearn`, warm, set-up included.

The sizes are those of mnist138.py: 6,742 images to forget and 11,982 to keep, the MLP VAE. A round
times one epoch of retraining and one call of each method; shares are of a retraining of `epochs`.
The images are noise and the rates tiny: a diverged network would time its infinities.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import paired
import tyro

from gsu_jax import unlearn
from gsu_jax.methods import get_method
from gsu_jax.networks import mlp_vae
from gsu_jax.study import Recipe, start_training, train_epoch

EPOCH, TINY = "an epoch of retraining", 1e-9


@dataclass(frozen=True)
class Arguments:
    """What is measured, and how often."""

    methods: tuple[str, ...] = ("gradient_ascent", "gradient_surgery", "redirect_surgery", "uno")
    """Names of methods; the first is the one that others are held against."""
    epochs: int = 200
    """Epochs of the retraining that a request stands in for."""
    forget: int = 6742
    """Images to forget."""
    retain: int = 11982
    """Images to keep."""
    rounds: int = 7
    """Times that each is timed."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("benchmarks/results/unlearn.json")
    """The JSON file to write."""

    def __post_init__(self) -> None:
        paired.check_counts(self, "epochs", "forget", "retain", "rounds")
        if not self.methods:
            raise ValueError("methods must name at least one.")
        for name in self.methods:
            get_method(name)  # before a retraining is timed


def main(arguments: Arguments) -> None:
    paired.prepare(arguments.out)
    clocks = kinds(arguments)
    before = paired.load()
    rounds = paired.time_rounds(clocks, arguments.rounds)
    rows = [row(name, rounds, arguments) for name in clocks]
    print(table(rows, arguments))
    paired.write(arguments, "unlearn", "MLP VAE 784-400-400-20, float32, Adam", rows, before)


def kinds(arguments: Arguments) -> dict[str, partial]:
    """For each kind, a function that runs it and returns its seconds without compilation."""
    model, key = mlp_vae(), jax.random.key(0)
    shape = (arguments.forget + arguments.retain, 28, 28, 1)
    pixels = jnp.asarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    forget, retain = pixels[: arguments.forget], pixels[arguments.forget :]
    params = jax.jit(model.init)(key)

    def epoch() -> float:
        state = start_training(model.init, Recipe(), key[None])
        return train_epoch(model.loss, Recipe(), state, retain, key[None])[0].seconds

    def request(name: str) -> float:
        method = replace(get_method(name), learning_rate=TINY)
        return unlearn(model, params, forget, retain, method=method, key=key).seconds

    return {EPOCH: epoch} | {name: partial(request, name) for name in arguments.methods}


def row(name: str, rounds: list[paired.Round], arguments: Arguments) -> dict[str, Any]:
    """What the table and the JSON say of one kind."""
    share = [one[name] / (arguments.epochs * one[EPOCH]) for one in rounds]
    return {
        "kind": name,
        "seconds": paired.spread([one[name] for one in rounds]),
        "share_of_retraining": paired.spread(share),
        "ratio": paired.ratios(rounds, name, base=arguments.methods[0]),
        "rounds": [one[name] for one in rounds],
    }


def table(rows: list[dict[str, Any]], arguments: Arguments) -> str:
    share, ratio = f"% of {arguments.epochs} epochs", f"x {arguments.methods[0]}"
    lines = [("", "seconds", "(min .. max)", share, "(min .. max)", ratio, "(min .. max)")]
    for one in rows:
        cells = paired.with_range(one["seconds"], digits=3)
        cells += paired.with_range(one["share_of_retraining"], 100, digits=3)
        cells += paired.with_range(one["ratio"])
        lines.append((one["kind"], *cells))
    return paired.aligned(lines)


if __name__ == "__main__":
    paired.command_line(main, Arguments, __doc__)
