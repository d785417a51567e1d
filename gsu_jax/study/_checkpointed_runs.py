"""Networks that a study trains once: kept as artifacts, resumed after a kill."""

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.models import Loss
from gsu_jax.runtime import on_first_process, stage
from gsu_jax.storage import Artifacts
from gsu_jax.study._pretraining import Recipe, TrainingState, start_training, train_epoch
from gsu_jax.unlearning import UnlearningResult

SAVE_EVERY = 20.0  # seconds of training between two checkpoints of its progress
# The most seeds that a CPU trains together. On two cores 8 together have 0.92 of the speed of one
# after the other and 16 have 0.77. An accelerator trains all together.
LARGEST_GROUP_ON_CPU = 8


class Trained(NamedTuple):
    """One trained network.

    Attributes:
        params: its parameters.
        seconds: its share of the steady time of the seeds trained together.
        compile_seconds: its share of their compile time.
        steps: taken.
    """

    params: Any
    seconds: float
    compile_seconds: float
    steps: int


class Unlearned(NamedTuple):
    """One unlearned network.

    Attributes:
        trained: the network.
        history: the metrics of its steps: name -> `[steps]`.
    """

    trained: Trained
    history: dict[str, np.ndarray]


@dataclass(frozen=True)
class Network:
    """What is trained, and how.

    Attributes:
        name: of its artifacts.
        init: `init(key) -> params`.
        loss: `loss(params, batch, key) -> scalar`.
        recipe: of its training.
        made_with: all that its parameters depend on, as JSON gives it back.
        fit: `fit(params, images) -> params`, which gives what `init` returned something of the
            images before the first step; or None.
    """

    name: str
    init: Callable[[jax.Array], Any]
    loss: Loss
    recipe: Recipe
    made_with: dict[str, Any] = field(default_factory=dict)
    fit: Callable[[Any, Any], Any] | None = None

    @property
    def params_like(self) -> Any:
        """The shapes and dtypes of its parameters."""
        return jax.eval_shape(self.init, jax.random.key(0))


def named_key(name: str, seed: int) -> jax.Array:
    """Returns the random key of a part of a study: the same whatever else is run."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()) % 2**31)


def train_missing(
    store: Artifacts,
    network: Network,
    data: Any,
    seeds: Sequence[int],
    mesh: jax.sharding.Mesh | None = None,
) -> dict[int, Trained]:
    """Returns the network of every seed; missing ones are borrowed, or trained in groups.

    The artifacts are NAME-SEED, and NAME-in-training during the training. Seeds that started
    together resume together, so that a resumed training gives the bits of an unstopped one.

    Args:
        store: where the artifacts are kept.
        network: what is trained.
        data: pytree of arrays with a leading axis of examples.
        seeds: the wanted seeds.
        mesh: devices to share each batch over; a training may resume on another mesh.
    """
    for seed in seeds:
        store.borrow(f"{network.name}-{seed}", network.params_like, network.made_with)
    steps = network.recipe.steps_per_epoch(len(jax.tree.leaves(data)[0])) * network.recipe.epochs
    while missing := [s for s in seeds if not store.has(f"{network.name}-{s}")]:
        group = _group(store, network, missing, seeds)
        state = _train_group(store, network, data, group, mesh)
        for i, seed in enumerate(group):
            facts = {
                "seconds": state.seconds / len(group),
                "compile_seconds": state.compile_seconds / len(group),
                "steps": steps,
                "seeds": group,
            }
            if seed in missing:
                own = jax.tree.map(lambda leaf, i=i: leaf[i], state.params)
                store.save(f"{network.name}-{seed}", own, facts, network.made_with)
        store.remove(_in_training(network.name))
    return {seed: read_trained(store, network, seed) for seed in seeds}


def read_trained(store: Artifacts, network: Network, seed: int) -> Trained:
    """Returns a finished network from its artifact."""
    name = f"{network.name}-{seed}"
    facts = store.facts(name, network.made_with)
    params = store.load(name, network.params_like)
    return Trained(params, facts["seconds"], facts["compile_seconds"], facts["steps"])


def unlearn_missing(
    store: Artifacts,
    name: str,
    unlearn: Callable[[], UnlearningResult],
    params_like: Any,
    made_with: dict[str, Any],
) -> Unlearned:
    """Returns an unlearned network from the artifact `name`; `unlearn()` makes a missing one."""
    if not store.has(name):
        result = unlearn()
        history = {metric: row.astype(np.float32) for metric, row in result.history.items()}
        facts = {
            "seconds": result.seconds,
            "compile_seconds": result.compile_seconds,
            "steps": result.steps,
            "history": list(history),
        }
        tree = {"params": result.params, "history": history}
        store.save(name, tree, facts, made_with)
    facts = store.facts(name, made_with)
    like = {metric: np.zeros(facts["steps"], np.float32) for metric in facts.pop("history")}
    tree = store.load(name, {"params": params_like, "history": like})
    return Unlearned(Trained(tree["params"], **facts), tree["history"])


def _in_training(name: str) -> str:
    return f"{name}-in-training"


def _group(
    store: Artifacts, network: Network, missing: Sequence[int], seeds: Sequence[int]
) -> list[int]:
    """Returns the seeds to train together: the group of an earlier training, else `missing`.

    On a CPU, which large groups slow down, these are the first of `missing`.

    A seed alone does not give the bits that it gives in a group (1.8e-4 apart after five epochs of
    digits): a batched matrix product rounds in another order.
    """
    finished = (f"{network.name}-{seed}" for seed in seeds)
    for name in (_in_training(network.name), *finished):
        if store.has(name):
            group = store.facts(name, network.made_with)["seeds"]
            if set(group) & set(missing):
                return group
    on_cpu = jax.default_backend() == "cpu"
    return list(missing)[: LARGEST_GROUP_ON_CPU if on_cpu else None]


def _train_group(
    store: Artifacts,
    network: Network,
    data: Any,
    seeds: Sequence[int],
    mesh: jax.sharding.Mesh | None,
) -> TrainingState:
    """Trains `seeds` to the end, from the last checkpoint of a stopped training."""
    name, recipe, draft = network.name, network.recipe, _in_training(network.name)
    keys = jnp.stack([named_key(name, seed) for seed in seeds])
    facts = store.facts(draft, network.made_with) if store.has(draft) else {}
    if facts.get("seeds") == list(seeds):
        like = jax.eval_shape(lambda: start_training(network.init, recipe, keys)[:2])
        arrays = store.load(draft, like)
        state = TrainingState(*arrays, facts["epoch"], facts["seconds"], facts["compile_seconds"])
    else:
        state = start_training(network.init, recipe, keys)
        if network.fit is not None:
            fitted = jax.vmap(lambda params: network.fit(params, data))(state.params)
            state = state._replace(params=fitted)
    if mesh is None:
        data = jax.tree.map(jnp.asarray, data)

    def save(state: TrainingState) -> None:
        counts = dict(zip(state._fields[2:], state[2:], strict=True))
        store.save(draft, state[:2], counts | {"seeds": list(seeds)}, network.made_with)

    saved_at = time.monotonic()
    with stage(f"train {name}", recipe.epochs) as advance:
        plural = "s" if len(seeds) > 1 else ""
        advance(state.epoch, f"seed{plural} {', '.join(map(str, seeds))}")
        while state.epoch < recipe.epochs:
            try:
                state, losses = train_epoch(network.loss, recipe, state, data, keys, mesh)
            except KeyboardInterrupt:
                if jax.process_count() == 1 and state.epoch:
                    save(state)
                raise
            store.log(
                "epoch", name=name, seeds=list(seeds), epoch=state.epoch, loss=losses.tolist()
            )
            advance(1, f"loss {float(losses.mean()):.4g}")
            if _is_due(saved_at) and state.epoch < recipe.epochs:
                save(state)
                saved_at = time.monotonic()
    return state


@on_first_process
def _is_due(saved_at: float) -> bool:
    """Returns whether to save now, by the clock of process 0: all processes save, or none."""
    return time.monotonic() - saved_at > SAVE_EVERY
