"""`run_sweep`: a study whose rows are settings of surgery, all made by one compiled program."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.checks import above, at_least, in_range
from gsu_jax.data import Source
from gsu_jax.methods import Before, GradientSurgery, Method
from gsu_jax.report import SWEPT, write_sweep_files
from gsu_jax.runtime import on_first_process
from gsu_jax.storage import check_lender, exclusive
from gsu_jax.study._checkpointed_runs import named_key
from gsu_jax.study._config import StudyConfig
from gsu_jax.study._method_records import settings_of
from gsu_jax.study._models import Unlearn, generator
from gsu_jax.study._setup import resolve
from gsu_jax.study._state import Study, open_study
from gsu_jax.study._study import complete
from gsu_jax.unlearning import UnlearningResult, sweep


class SweepResults(NamedTuple):
    """What `run_sweep` returns.

    Attributes:
        results: the content of `results.json`.
        sweep: the content of `sweep.json`.
        best: the content of `best.json`; None if no setting is within the budget.
    """

    results: dict
    sweep: dict
    best: dict | None


def run_sweep(
    config: StudyConfig,
    source: Source,
    out: str | Path,
    *,
    learning_rates: Sequence[float],
    retain_weights: Sequence[float],
    seeds: int,
    budget: float = 2.0,
    models_from: str | Path | None = None,
) -> SweepResults:
    """Runs what is missing of a sweep in the folder `out` and returns its results.

    Every rate with every weight and every seed is a run of

        GradientSurgery(learning_rate=rate, retain_weight=weight)

    and all runs are members of one program (`gsu_jax.unlearning.sweep`). The folder is that of a
    study (`gsu_jax.study.run_study`) with a row for each setting beside `before`: it resumes in the
    same way, and more seeds, rates or weights extend it. `gsu_jax.report.write_sweep_files` adds
    `sweep.json`, `front.png` and `best.json`.

    The best setting has the lowest mean fratio among the settings of which no seed diverged and
    whose retained nelbo lies at most `budget` percent above that of the pretrained model, in the
    mean over seeds.

    Args:
        config: what the study is.
        source: the images, from `gsu_jax.data.load`.
        out: the sweep's folder; made if it is missing.
        learning_rates: of Adam, each above 0.
        retain_weights: of the retain gradient that is added after the projection, each at least 0.
        seeds: how many: 0 to seeds - 1.
        budget: percent of nelbo that forgetting may cost; another budget needs no new run.
        models_from: as for `run_study`.

    Returns:
        The contents of the three JSON files.

    Raises:
        ValueError: as `run_study`; a rate, weight or budget is out of range; `out` holds another
            sweep.
        OSError: `out` cannot be written.

    Example:
        >>> from gsu_jax.data import load
        >>> from gsu_jax.models import MLPVAEConfig
        >>> from gsu_jax.study import StudyConfig
        >>> config = StudyConfig("sweep", dataset="digits", forget="1", model=MLPVAEConfig())
        >>> swept = run_sweep(  # doctest: +SKIP
        ...     config,
        ...     load("digits"),
        ...     "runs/sweep",
        ...     learning_rates=[1e-4, 5e-4],
        ...     retain_weights=[0.0, 1.0],
        ...     seeds=3,
        ... )
        >>> swept.best["settings"]["learning_rate"]  # doctest: +SKIP
        0.0005
    """
    for name, values in (("learning_rates", learning_rates), ("retain_weights", retain_weights)):
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} must name at least one, each once, got {[*values]}")
    for rate in learning_rates:
        above(0, learning_rates=rate)
        in_range(0, math.inf, learning_rates=rate)
    for weight in retain_weights:
        in_range(0, math.inf, retain_weights=weight)
    in_range(0, math.inf, budget=budget)
    at_least(1, seeds=seeds)
    if models_from is not None:
        check_lender(models_from)
    grid = [_setting(rate, weight) for rate in learning_rates for weight in retain_weights]
    setup = resolve(config, source)
    if setup.listed is not None:
        raise ValueError(
            "forget must name classes or an attribute, since a sweep compares settings by fratio, "
            f"got {config.forget!r}"
        )
    with exclusive(out) as folder:
        study = open_study(setup, folder, [Before(), *grid], seeds, models_from)
        _check_same_sweep(study, grid)
        complete(study, _unlearn_together(study))
        settings = {method.title: settings_of(method) for method in _settings(study)}
        return SweepResults(*on_first_process(write_sweep_files)(folder, settings, budget))


def _unlearn_together(study: Study) -> Unlearn:
    """Returns a function that gives the run of a method and a seed, out of one sweep over all."""
    settings, setup = _settings(study), study.setup

    @functools.cache
    def together() -> UnlearningResult:
        params = [generator(study, "baseline", seed).params for seed in study.seeds]
        return sweep(
            setup.model,
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *params),
            setup.split.forget.images,
            setup.split.retain.images,
            method=GradientSurgery(),
            settings={name: [getattr(m, name) for m in settings] for name in SWEPT},
            keys=jnp.stack([named_key(GradientSurgery.name, seed) for seed in study.seeds]),
            epochs=setup.config.epochs,
        )

    def unlearn_row(method: Method, seed: int) -> UnlearningResult:
        result, runs = together(), len(settings) * len(study.seeds)
        place = [m.title for m in settings].index(method.title), study.seeds.index(seed)
        return UnlearningResult(
            jax.tree.map(lambda leaf: leaf[place], result.params),
            {name: values[place] for name, values in result.history.items()},
            result.seconds / runs,
            result.compile_seconds / runs,
            result.steps,
            result.stopped,
        )

    return unlearn_row


def _setting(rate: float, weight: float) -> GradientSurgery:
    label = f"rate-{rate:.15g}-weight-{weight:.15g}"
    return GradientSurgery(label=label, learning_rate=rate, retain_weight=weight)


def _settings(study: Study) -> list[Method]:
    return [method for method in study.methods if isinstance(method, GradientSurgery)]


def _check_same_sweep(study: Study, grid: Sequence[Method]) -> None:
    """Raises ValueError if the folder has settings that this sweep does not name."""
    wanted = {method.title for method in grid}
    if others := [method.title for method in _settings(study) if method.title not in wanted]:
        raise ValueError(
            f"--out {study.store.folder} holds another sweep, with {', '.join(others)}; name its "
            "learning rates and retain weights too, or give another --out"
        )
