"""Networks that a study makes once: kept as checkpoints, resumed where a kill stopped them."""

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.models import Loss
from gsu_jax.runtime import broadcast_from_first, stage
from gsu_jax.study._pretraining import Recipe, TrainingState, start_training, train_epoch
from gsu_jax.study._workspace import Workspace
from gsu_jax.unlearning import UnlearningResult

SAVE_EVERY = 20.0  # seconds of training between two checkpoints of its progress


class Trained(NamedTuple):
    """One trained network: its parameters, its share of the time, and its steps."""

    params: Any
    seconds: float
    compile_seconds: float
    steps: int


class Unlearned(NamedTuple):
    """One unlearned network, and the metrics of its steps by name."""

    trained: Trained
    history: dict[str, np.ndarray]


@dataclass(frozen=True)
class Network:
    """What is trained, and how.

    Attributes:
      name: of its parts.
      init: `init(key) -> params`.
      loss: `loss(params, batch, key) -> scalar`.
      recipe: of its training.
      made_with: all that its parameters depend on, as JSON has it: they are kept with it, and
        taken from no part that was made with something else.
    """

    name: str
    init: Callable[[jax.Array], Any]
    loss: Loss
    recipe: Recipe
    made_with: dict[str, Any] = field(default_factory=dict)

    @property
    def params_like(self) -> Any:
        """Shapes and dtypes of its parameters."""
        return jax.eval_shape(self.init, jax.random.key(0))


def part_key(name: str, seed: int) -> jax.Array:
    """The random key of one part of a study: the same whatever else is run."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()) % 2**31)


def train_missing(
    workspace: Workspace,
    network: Network,
    data: Any,
    seeds: Sequence[int],
    mesh: jax.sharding.Mesh | None = None,
) -> dict[int, Trained]:
    """The network of every seed: the missing ones are borrowed, or trained together.

    Its checkpoints are NAME-SEED, and NAME-in-training while it lasts. Seeds that were begun
    together go on together, so that a resumed training gives what an unstopped one would have.

    Args:
      workspace: where the checkpoints are.
      network: what is trained.
      data: pytree of arrays with a leading axis of examples.
      seeds: the wanted ones.
      mesh: devices to share each batch over; a training may go on with others than it began on.
    """
    for seed in seeds:
        workspace.borrow_part(f"{network.name}-{seed}", network.params_like, network.made_with)
    steps = network.recipe.steps_per_epoch(len(jax.tree.leaves(data)[0])) * network.recipe.epochs
    while missing := [s for s in seeds if not workspace.has_part(f"{network.name}-{s}")]:
        group = _group(workspace, network, missing, seeds)
        state = _train_group(workspace, network, data, group, mesh)
        for i, seed in enumerate(group):
            facts = {
                "seconds": state.seconds / len(group),
                "compile_seconds": state.compile_seconds / len(group),
                "steps": steps,
                "seeds": group,
            }
            if seed in missing:
                own = jax.tree.map(lambda leaf, i=i: leaf[i], state.params)
                workspace.save_part(f"{network.name}-{seed}", own, facts, network.made_with)
        workspace.remove_part(_in_training(network.name))
    return {seed: read_trained(workspace, network, seed) for seed in seeds}


def read_trained(workspace: Workspace, network: Network, seed: int) -> Trained:
    """A finished network from its checkpoint."""
    part = f"{network.name}-{seed}"
    facts = workspace.part_facts(part, network.made_with)
    params = workspace.load_part(part, network.params_like)
    return Trained(params, facts["seconds"], facts["compile_seconds"], facts["steps"])


def unlearn_missing(
    workspace: Workspace,
    part: str,
    unlearn: Callable[[], UnlearningResult],
    params_like: Any,
    made_with: dict[str, Any],
) -> Unlearned:
    """An unlearned network from its checkpoint; `unlearn()` makes it if it is not there."""
    if not workspace.has_part(part):
        result = unlearn()
        history = {name: values.astype(np.float32) for name, values in result.history.items()}
        facts = {
            "seconds": result.seconds,
            "compile_seconds": result.compile_seconds,
            "steps": result.steps,
            "history": list(history),
        }
        tree = {"params": result.params, "history": history}
        workspace.save_part(part, tree, facts, made_with)
    facts = workspace.part_facts(part, made_with)
    names = facts.pop("history")
    history = {name: np.zeros(facts["steps"], np.float32) for name in names}
    tree = workspace.load_part(part, {"params": params_like, "history": history})
    return Unlearned(Trained(tree["params"], **facts), tree["history"])


def _in_training(name: str) -> str:
    return f"{name}-in-training"


def _group(
    workspace: Workspace, network: Network, missing: Sequence[int], seeds: Sequence[int]
) -> list[int]:
    """The seeds to train together: those that a stopped or deleted training had, else `missing`.

    One seed alone does not give the bits that it gives beside others (1.8e-4 apart after five
    epochs of digits): a product of batches of matrices rounds in another order.
    """
    name = network.name
    for part in (_in_training(name), *(f"{name}-{seed}" for seed in seeds)):
        if workspace.has_part(part):
            group = workspace.part_facts(part, network.made_with)["seeds"]
            if set(group) & set(missing):
                return group
    return list(missing)


def _train_group(
    workspace: Workspace,
    network: Network,
    data: Any,
    seeds: Sequence[int],
    mesh: jax.sharding.Mesh | None,
) -> TrainingState:
    """Trains `seeds` to the end, from where a stopped training of theirs stood."""
    name, recipe = network.name, network.recipe
    part = _in_training(name)
    keys = jnp.stack([part_key(name, seed) for seed in seeds])
    facts = workspace.part_facts(part, network.made_with) if workspace.has_part(part) else {}
    if facts.get("seeds") == list(seeds):
        like = jax.eval_shape(lambda: start_training(network.init, recipe, keys)[:2])
        arrays = workspace.load_part(part, like)
        state = TrainingState(*arrays, facts["epoch"], facts["seconds"], facts["compile_seconds"])
    else:
        state = start_training(network.init, recipe, keys)
    if mesh is None:
        data = jax.tree.map(jnp.asarray, data)
    saved_at = time.monotonic()
    with stage(f"train {name}", recipe.epochs) as advance:
        advance(state.epoch, f"seeds {', '.join(map(str, seeds))}")
        while state.epoch < recipe.epochs:
            state, losses = train_epoch(network.loss, recipe, state, data, keys, mesh)
            workspace.log(
                "epoch", name=name, seeds=list(seeds), epoch=state.epoch, loss=losses.tolist()
            )
            advance(1, f"loss {float(losses.mean()):.4g}")
            # By the clock of one process: all must save, or none.
            due = broadcast_from_first(lambda since=saved_at: time.monotonic() - since > SAVE_EVERY)
            if due and state.epoch < recipe.epochs:
                counts = dict(zip(state._fields[2:], state[2:], strict=True))
                facts = counts | {"seeds": list(seeds)}
                workspace.save_part(part, state[:2], facts, network.made_with)
                saved_at = time.monotonic()
    return state
