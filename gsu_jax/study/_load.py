"""`load`: one model of a study, out of its folder alone."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gsu_jax import storage
from gsu_jax.checks import integer, listing, unknown
from gsu_jax.methods import Method
from gsu_jax.report import read_results
from gsu_jax.storage import CheckpointError
from gsu_jax.study._models import GENERATORS

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, eq=False)
class StudyModel:
    """One model of a study.

    Attributes:
        method: Its label in the rows.
        seed: Its seed.
        params: Its parameters.
        history: The metrics of the steps of unlearning: name -> `[steps]`. Empty for a model that
            was trained, not unlearned.
        steps: The number of its steps.
        seconds: The time of its steps, without compilation.
    """

    method: str
    seed: int
    params: Any = field(repr=False)
    history: Mapping[str, np.ndarray] = field(repr=False)
    steps: int
    seconds: float


def load(
    run: str | os.PathLike, method: str | Method, seed: int | None = None, *, like: Any = None
) -> StudyModel:
    """Reads one model of a study; needs neither the model's code nor the study's config.

    Args:
        run: The study's folder, the `out` of `run_study`.
        method: The label of its row: "before", "retrain", a name of a method; or the method itself.
            "judge" is the study's judge, of seed 0, and "second_judge" its second one.
        seed: Its seed; may be left out if the study has one seed of this model.
        like: Parameters of the same structure, or their shapes from `jax.eval_shape(model.init,
            key)`. Without it the parameters come back as nested dicts of NumPy arrays, as the
            shipped networks have them; a list, a tuple or an `nnx.State` becomes a dict too.

    Returns:
        A `StudyModel`, with `params` and `history`. Every hash is verified.

    Raises:
        FileNotFoundError: `run` is not the folder of a study.
        ValueError: The study has no such model; the error names those that it has. Or `like` has
            another structure, shape or dtype.
        CheckpointError: The model's files are damaged.

    Example:
        >>> unlearned = load("runs/digits", "gradient_surgery", seed=2)  # doctest: +SKIP
        >>> unlearned.history["forget_loss"].shape  # doctest: +SKIP
        (40,)
        >>> images = model.sample(unlearned.params, key, 16)  # doctest: +SKIP
    """
    label = method.title if isinstance(method, Method) else method
    if seed is not None:
        integer(seed=seed)
    path, seed = _find(Path(run), label, seed)
    try:
        facts = storage.read_metadata(path)["facts"]
        history = {name: np.zeros(facts["steps"], np.float32) for name in facts.get("history", ())}
        wanted = like
        if like is not None and "history" in facts:
            wanted = {"params": like, "history": history}
        tree = storage.load(path, wanted)
    except CheckpointError as error:
        raise CheckpointError(
            error.problem, "take the model from a copy of the study, or from another seed"
        ) from error
    params = tree["params"] if "history" in facts else tree
    if "history" in facts:
        history = tree.get("history", {})
    return StudyModel(label, seed, params, history, facts["steps"], facts["seconds"])


def _find(run: Path, label: str, seed: int | None) -> tuple[Path, int]:
    """Returns a model's checkpoint and seed; raises an error that names what the study has."""
    models = _models(run)
    if not models:
        what = "holds no checkpoints" if run.is_dir() else "does not exist"
        raise FileNotFoundError(f"run must be the folder of a study, got {run}, which {what}")
    name = _checkpoint_names(run).get(label, label)
    if name not in models:
        raise unknown("method", f"model of the study {run}", label, models)
    if seed is None and len(models[name]) == 1:
        (seed,) = models[name]
    if seed not in models[name]:
        seeds = listing(map(str, sorted(models[name])))
        raise ValueError(f"seed must be one of {seeds} for {label!r} in {run}, got {seed}")
    return run / CHECKPOINTS / f"{name}-{seed}", int(seed)


def _models(run: Path) -> dict[str, list[int]]:
    """Returns the seeds of each finished model in a folder."""
    models: dict[str, list[int]] = {}
    for path in sorted((run / CHECKPOINTS).glob("*-*")):
        name, _, seed = path.name.rpartition("-")
        if seed.isdecimal() and storage.exists(path):
            models.setdefault(name, []).append(int(seed))
    return models


def _checkpoint_names(run: Path) -> dict[str, str]:
    """Returns how the checkpoints of the trained models are named, by the labels of their rows."""
    # The checkpoints can be read without the results.
    try:
        records = dict(read_results(run / "results.json")["config"]["methods"])
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    names = {label: record["name"] for label, record in records.items()}
    return {label: name for label, name in names.items() if name in GENERATORS.values()}
