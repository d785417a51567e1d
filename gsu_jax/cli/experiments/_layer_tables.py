"""The conflict of layers, and what treating them apart is worth: the tables of `layers.py`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.cli.experiments._layer_models import Trained, measurer, sets_of
from gsu_jax.data import Source
from gsu_jax.methods import GradientSurgery
from gsu_jax.surgery import layer_labels
from gsu_jax.unlearning import sweep

LEVELS = (-8.0, -5.0, -3.0, -1.0, 1.0, 3.0, 5.0, 9.0)  # the ends of bins of gamma
WINDOW = (-2.0, 4.0)
MEASURING = GradientSurgery(scope="measured", batch_size=512)
SURGERY = GradientSurgery(when="conflict", retain_weight=1.0, batch_size=128, retain_batch_size=256)
COSTS = (0.01, 0.03)  # the rise of the retained bound at which variants are compared
Record = dict[str, Any]


def conflicts(made: Trained, source: Source, digit: str) -> list[Record]:
    """A record for each layer, and for a diffusion model for each layer and bin of gamma too."""
    sets, found = sets_of(source, digit), []
    bins = [*pairwise(LEVELS)] if made.has_noise_levels else []
    for window in (None, *bins):
        method = replace(MEASURING, window=window)

        def measure(params: Any, sets: Any, method: GradientSurgery = method) -> Any:
            return method.measure_layers(
                made.model, params, sets.forget, sets.retain, jax.random.key(1)
            )

        state = jax.jit(jax.vmap(measure, (0, None)))(made.params, sets)
        total = sum(state.mean_dot.values())
        for layer in state.share:
            found.append(
                {"model": made.name, "digit": digit, "layer": layer, "window": window}
                | {
                    "cosine": np.asarray(state.mean_cosine[layer]).tolist(),
                    "share": np.asarray(state.share[layer]).tolist(),
                    "part": np.asarray(state.mean_dot[layer] / total).tolist(),
                }
            )
    return found


def variants_of(made: Trained) -> dict[str, GradientSurgery]:
    """What is compared: global surgery, its three variants, and the choice that needs no counting.

    A third of the layers is treated apart.
    """
    layers = len({*jax.tree.leaves(layer_labels(made.params))})
    found = {"global": SURGERY}
    for variant in ("private", "remove", "salient"):
        found[variant] = replace(
            SURGERY, scope="measured", variant=variant, conflict_layers=layers // 3
        )
    if made.has_noise_levels:
        found["global, window"] = replace(SURGERY, window=WINDOW)
        found["remove, window"] = replace(found["remove"], window=WINDOW)
    else:
        found["global, decoder"] = replace(SURGERY, through="decoder")
    return found


def curves(
    made: Trained, source: Source, digit: str, rates: Sequence[float], epochs: int, samples: int
) -> Iterator[Record]:
    """For each variant what every learning rate and seed comes to; the first record is before."""
    sets = sets_of(source, digit)
    forget, retain = (
        part.images[part.first : part.first + part.count] for part in (sets.forget, sets.retain)
    )
    keys, grid = jax.vmap(jax.random.key)(jnp.arange(made.seeds)), (len(rates), made.seeds)
    about = {"model": made.name, "digit": digit}
    measure = measurer(made, source, digit, samples)
    found = measure(made.params)._asdict()
    yield about | {"variant": "before"} | {name: x.tolist() for name, x in found.items()}
    for variant, method in variants_of(made).items():
        result = sweep(
            made.model, made.params, forget, retain, method=method,
            settings={"learning_rate": rates}, keys=keys, epochs=epochs,
        )  # fmt: skip
        members = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), result.params)
        found = measure(members)._asdict()
        yield (
            about
            | {"variant": variant, "steps": result.steps}
            | {name: x.reshape(grid).tolist() for name, x in found.items()}
        )


def share_at(rise: Sequence[float], share: Sequence[float], cost: float) -> tuple[float, bool]:
    """The share of samples where the retained bound has risen by `cost`, and whether it is reached.

    Both sequences go over rising learning rates, the first entry being the model before. Between
    two rates the share is linear in the rise; where all rates cost less, it is that of the last.

    Example:
        >>> share_at([0.0, 0.01, 0.03], [0.1, 0.06, 0.02], cost=0.02)
        (0.04, True)
    """
    for i in range(1, len(rise)):
        if not rise[i] < cost:
            u = (cost - rise[i - 1]) / (rise[i] - rise[i - 1]) if np.isfinite(rise[i]) else 0.0
            return float(round(share[i - 1] + u * (share[i] - share[i - 1]), 9)), True
    return float(share[-1]), False


def at_equal_cost(records: Sequence[Record], cost: float) -> dict[str, tuple[np.ndarray, bool]]:
    """Variant -> the share of each seed at that cost, and whether all seeds reach it."""
    before, *others = records
    base, start = np.asarray(before["retained"]), np.asarray(before["share"])
    found = {}
    for record in others:
        rise = np.vstack([np.zeros_like(base), np.asarray(record["retained"]) / base - 1])
        share = np.vstack([start, record["share"]])
        each = [share_at(rise[:, seed], share[:, seed], cost) for seed in range(len(base))]
        found[record["variant"]] = np.array([s for s, _ in each]), all(r for _, r in each)
    return found
