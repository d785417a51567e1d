"""Models of a panel: trained in chunks under one `vmap`, each chunk kept as a file."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsu_jax.cli.experiments._panel import Panel
from gsu_jax.data import random_order
from gsu_jax.metrics import decoder_evidence, negative_elbo
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.runtime import stage
from gsu_jax.storage import Artifacts
from gsu_jax.study import Recipe

DRAWS, FIT = 128, 60  # of phi: draws of z, steps of the fit


@partial(jax.jit, static_argnames=("model", "recipe", "steps"))
def train_on_rows(
    model: GenerativeModel,
    recipe: Recipe,
    steps: int,
    images: jax.Array,
    rows: jax.Array,
    counts: jax.Array,
    keys: jax.Array,
) -> Params:
    """Trains models, each on its own rows of the same images.

    Args:
        model: The generative model.
        recipe: Epochs, batch size and the constant rate of Adam.
        steps: Of an epoch; it visits rows in a random order, again from the first if they run out.
        images: `[n, height, width, channels]`.
        rows: `[models, most]`, rows of `images`, then padding.
        counts: `[models]`, how many rows a model has.
        keys: `[models]`.

    Returns:
        The parameters, each leaf with a leading axis of models.
    """
    optimizer = optax.adam(recipe.learning_rate)
    visits = jnp.arange(steps * recipe.batch_size)

    def one(rows: jax.Array, count: jax.Array, key: jax.Array) -> Params:
        params = model.init(jax.random.fold_in(key, 0))

        def step(carry: Any, inputs: Any) -> tuple[Any, None]:
            params, state = carry
            batch, key = inputs
            grads = jax.grad(model.loss)(params, images[batch], key)
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        def epoch(carry: Any, number: jax.Array) -> tuple[Any, None]:
            epoch_key = jax.random.fold_in(key, number + 1)
            order = random_order(epoch_key, count, len(rows))
            batches = rows[order[visits % count]].reshape(steps, -1)
            return jax.lax.scan(step, carry, (batches, jax.random.split(epoch_key, steps)))

        carry = (params, optimizer.init(params))
        return jax.lax.scan(epoch, carry, jnp.arange(recipe.epochs))[0][0]

    return jax.vmap(one)(rows, counts, keys)


class Models:
    """Trains models, and keeps what they say.

    Args:
        store: Where chunks are kept.
        model: The generative model.
        recipe: Of every training.
        chunk: Models under one `vmap`.
        held_out: Images that no model is trained on.
        made_with: What all models depend on.
        images: Training images that make an epoch, whatever a model is trained on.
        room, most: Images that a model can choose from, and rows that it can have.
    """

    def __init__(
        self,
        store: Artifacts,
        model: GenerativeModel,
        recipe: Recipe,
        chunk: int,
        held_out: np.ndarray,
        made_with: dict[str, Any],
        *,
        images: int,
        room: int,
        most: int,
    ):
        self.store, self.model, self.recipe, self.chunk = store, model, recipe, chunk
        self.held_out, self.key = held_out, jax.random.key(0)
        record = made_with | {"recipe": asdict(recipe), "phi": [DRAWS, FIT]}
        self.made_with = json.loads(json.dumps(record))  # without tuples, as it is read back
        self.example = jax.eval_shape(model.init, self.key)
        self.room, self.most, self.steps = room, most, max(1, images // recipe.batch_size)

    def pilot(self, train: np.ndarray, members: np.ndarray) -> np.ndarray:
        """Minus the bound `[models, images]` of half-split models on all training images."""

        def scores(params: Params) -> np.ndarray:
            return -negative_elbo(self.model, params, train, self.key, samples=4)

        rows = [np.flatnonzero(own) for own in members]
        return self._in_chunks("pilot", train, rows, 0, {"scores": (len(train), scores)})["scores"]

    def of_panel(
        self,
        name: str,
        panel: Panel,
        base: np.ndarray,
        members: np.ndarray,
        first_seed: int,
        *,
        keep: bool = False,
    ) -> dict[str, Any]:
        """Trains models on the base and on their members of the panel.

        Returns:
            "phi" `[models, panel]`, "bound" `[models, 1]` and, if they are kept, "params".
        """
        rows = [panel.rows(base, own) for own in members]
        return self._in_chunks(
            name, panel.pool(base), rows, first_seed, self.measures(panel), keep=keep
        )

    def measures(self, panel: Panel) -> dict[str, Any]:
        """What is measured of a model: a name, how many numbers, and the function."""

        def phi(params: Params) -> np.ndarray:
            images, key = panel.images, self.key
            found = decoder_evidence(self.model, params, images, key, samples=DRAWS, steps=FIT)
            return found.phi

        def bound(params: Params) -> np.ndarray:
            return negative_elbo(self.model, params, self.held_out, self.key).mean(keepdims=True)

        return {"phi": (len(panel.images), phi), "bound": (1, bound)}

    def once(self, name: str, like: Any, make: Any) -> Any:
        """Returns the arrays of an artifact, made now if it is not there."""
        if not self.store.has(name):
            self.store.save(name, make(), {}, self.made_with)
        self.store.facts(name, self.made_with)
        return self.store.load(name, like)

    def _in_chunks(
        self,
        name: str,
        pool: np.ndarray,
        rows: Sequence[np.ndarray],
        first_seed: int,
        measures: dict[str, Any],
        *,
        keep: bool = False,
    ) -> dict[str, Any]:
        found = []
        with stage(name, len(rows)) as advance:
            for number, start in enumerate(range(0, len(rows), self.chunk)):
                part = rows[start : start + self.chunk]
                shapes = {key: (length,) for key, (length, _) in measures.items()}
                example = {key: np.empty(shape) for key, shape in shapes.items()}
                if keep:
                    example["params"] = self.example
                count = len(part)
                like = jax.tree.map(lambda x, n=count: np.empty((n, *x.shape), x.dtype), example)

                def make(part: Any = part, seed: int = first_seed + start) -> dict[str, Any]:
                    models = self._train(pool, part, seed)
                    made = {
                        key: np.stack([measure(params) for params in models])
                        for key, (_, measure) in measures.items()
                    }
                    if keep:
                        made["params"] = jax.tree.map(lambda *leaves: np.stack(leaves), *models)
                    return made

                found.append(self.once(f"{name}-{number}", like, make))
                advance(len(part))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    def _train(self, pool: np.ndarray, rows: Sequence[np.ndarray], first_seed: int) -> list[Params]:
        """Trains a chunk of models; one that is too short is filled up, for one program."""
        fill = [min(i, len(rows) - 1) for i in range(self.chunk)]
        padded = np.stack([np.resize(rows[i], self.most) for i in fill])
        counts = np.array([len(rows[i]) for i in fill])
        keys = jnp.stack([jax.random.fold_in(self.key, first_seed + i) for i in fill])
        images = np.zeros((self.room, *pool.shape[1:]), np.float32)
        images[: len(pool)] = pool
        trained = train_on_rows(self.model, self.recipe, self.steps, images, padded, counts, keys)
        trained = jax.tree.map(np.asarray, trained)
        return [jax.tree.map(lambda x, i=i: x[i], trained) for i in range(len(rows))]
