"""Networks that a study trains once: kept as checkpoints, resumed where a kill stopped them."""

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax import checkpoints
from gsu_jax.losses import Loss
from gsu_jax.progress import stage
from gsu_jax.training import Recipe, TrainingState, start_training, train_epoch
from gsu_jax.workspace import Workspace

SAVE_EVERY = 20.0  # seconds of training between two checkpoints of its progress


class Trained(NamedTuple):
    """One trained network: its parameters, its share of the time, and its steps."""

    params: Any
    seconds: float
    compile_seconds: float
    steps: int


@dataclass(frozen=True)
class Network:
    """What is trained, and how: `init(key) -> params`, `loss(params, batch, key)`, a recipe."""

    name: str
    init: Callable[[jax.Array], Any]
    loss: Loss
    recipe: Recipe


def part_key(name: str, seed: int) -> jax.Array:
    """The random key of one part of a study: the same whatever else is run."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()) % 2**31)


def train_missing(
    workspace: Workspace, network: Network, data: Any, seeds: Sequence[int]
) -> dict[int, Trained]:
    """The network of every seed: those that are missing are trained, together.

    Its checkpoints are NAME-SEED, and NAME-in-training while it lasts. Seeds that were begun
    together go on together, so that a resumed training gives what an unstopped one would have.

    Args:
      workspace: where the checkpoints are.
      network: what is trained.
      data: pytree of arrays with a leading axis of examples.
      seeds: the wanted ones.
    """
    paths = {seed: workspace.checkpoint(f"{network.name}-{seed}") for seed in seeds}
    progress = workspace.checkpoint(f"{network.name}-in-training")
    steps = network.recipe.steps_per_epoch(len(jax.tree.leaves(data)[0])) * network.recipe.epochs
    while missing := [seed for seed in seeds if not checkpoints.exists(paths[seed])]:
        begun = checkpoints.exists(progress)
        group = checkpoints.read_metadata(progress)["seeds"] if begun else missing
        state = _train_group(workspace, network, data, group, progress)
        for i, seed in enumerate(group):
            checkpoints.save(
                workspace.checkpoint(f"{network.name}-{seed}"),
                jax.tree.map(lambda leaf, i=i: leaf[i], state.params),
                metadata={
                    "seconds": state.seconds / len(group),
                    "compile_seconds": state.compile_seconds / len(group),
                    "steps": steps,
                },
            )
        checkpoints.remove(progress)
    return {seed: read_trained(path, network.init) for seed, path in paths.items()}


def read_trained(path: Path, init: Callable[[jax.Array], Any]) -> Trained:
    """A finished network from its checkpoint; `init` says what its parameters look like."""
    params = checkpoints.load(path, jax.eval_shape(init, jax.random.key(0)))
    return Trained(params, **checkpoints.read_metadata(path))


def _train_group(
    workspace: Workspace, network: Network, data: Any, seeds: Sequence[int], progress: Path
) -> TrainingState:
    """Trains `seeds` to the end, from where the checkpoint `progress` stands if there is one."""
    name, recipe = network.name, network.recipe
    keys = jnp.stack([part_key(name, seed) for seed in seeds])
    if checkpoints.exists(progress):
        like = jax.eval_shape(lambda: start_training(network.init, recipe, keys)[:2])
        saved = checkpoints.read_metadata(progress)
        arrays = checkpoints.load(progress, like)
        state = TrainingState(*arrays, saved["epoch"], saved["seconds"], saved["compile_seconds"])
    else:
        state = start_training(network.init, recipe, keys)
    data = jax.tree.map(jnp.asarray, data)
    saved_at = time.monotonic()
    with stage(f"train {name}", recipe.epochs) as advance:
        advance(state.epoch, f"seeds {', '.join(map(str, seeds))}")
        while state.epoch < recipe.epochs:
            state, losses = train_epoch(network.loss, recipe, state, data, keys)
            workspace.log(
                "epoch", name=name, seeds=list(seeds), epoch=state.epoch, loss=losses.tolist()
            )
            advance(1, f"loss {float(losses.mean()):.4g}")
            if time.monotonic() - saved_at > SAVE_EVERY and state.epoch < recipe.epochs:
                counts = dict(zip(state._fields[2:], state[2:], strict=True))
                checkpoints.save(progress, state[:2], metadata=counts | {"seeds": list(seeds)})
                saved_at = time.monotonic()
    return state
