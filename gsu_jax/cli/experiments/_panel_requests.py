"""Requests for images of a panel: what each method does to models of many seeds."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from gsu_jax.cli.experiments._panel import Panel
from gsu_jax.cli.experiments._panel_models import Models
from gsu_jax.methods import Method
from gsu_jax.runtime import stage
from gsu_jax.unlearning import unlearn

ORIGINAL, RETRAINED = 10_000, 20_000  # first seeds
LOG = logging.getLogger("gsu_jax.unlearning")


class Answered(NamedTuple):
    """What a request did.

    Attributes:
        phi: Method -> `[seeds, panel]`, "before" and "retrain" among them.
        bound: Method -> mean negative ELBO of held-out images.
        seconds: Method -> seconds of a model, without compilation.
    """

    phi: dict[str, np.ndarray]
    bound: dict[str, float]
    seconds: dict[str, float | None]


def originals(models: Models, panel: Panel, base: np.ndarray, seeds: int) -> dict[str, Any]:
    """The models before unlearning, with their parameters: trained on what the coins say."""
    members = np.tile(panel.coins, (seeds, 1))
    return models.of_panel("before", panel, base, members, ORIGINAL, keep=True)


def answer(
    models: Models,
    panel: Panel,
    base: np.ndarray,
    before: dict[str, Any],
    request: str,
    chosen: np.ndarray,
    methods: Mapping[str, Method],
    epochs: int,
) -> Answered:
    """Forgets the chosen panel images with each method, and retrains without them.

    Args:
        models: To train and measure with.
        panel: With the coins.
        base: The images that are in every training.
        before: From `originals`.
        request: A name for the files.
        chosen: `[n]`, what to forget; a part of what the coins chose.
        methods: By the names of the rows.
        epochs: Of unlearning.
    """
    seeds, kept = len(before["phi"]), panel.coins & ~chosen
    members = np.tile(kept, (seeds, 1))
    retrained = models.of_panel(f"retrain-{request}", panel, base, members, RETRAINED)
    phi = {"before": before["phi"], "retrain": retrained["phi"]}
    bound = {"before": before["bound"].mean(), "retrain": retrained["bound"].mean()}
    seconds: dict[str, float | None] = {"before": None, "retrain": None}
    pool = panel.pool(base)
    retain = pool[panel.rows(base, kept)]
    forget = np.repeat(panel.images[chosen], panel.copies[chosen], axis=0)
    measures = models.measures(panel)
    like = {name: np.empty(length) for name, (length, _) in measures.items()}
    like["seconds"] = np.empty(1)
    for name, method in methods.items():
        found = []
        LOG.setLevel(logging.ERROR)  # what one run left undone is in the table
        with stage(f"{request}: {name}", seeds) as advance:
            for seed in range(seeds):

                def make(seed: int = seed, method: Method = method) -> dict[str, np.ndarray]:
                    result = unlearn(
                        models.model, jax.tree.map(lambda x: x[seed], before["params"]),
                        forget, retain, method=method, key=jax.random.key(seed), epochs=epochs,
                    )  # fmt: skip
                    made = {key: measure(result.params) for key, (_, measure) in measures.items()}
                    return made | {"seconds": np.array([result.seconds])}

                found.append(models.once(f"{request}-{name}-{seed}", like, make))
                advance(1)
        LOG.setLevel(logging.NOTSET)
        phi[name] = np.stack([one["phi"] for one in found])
        bound[name] = float(np.mean([one["bound"] for one in found]))
        seconds[name] = float(np.median([one["seconds"] for one in found]))
    return Answered(phi, {key: float(value) for key, value in bound.items()}, seconds)
