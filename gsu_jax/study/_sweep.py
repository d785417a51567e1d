"""`run_sweep`: a study whose rows are settings of surgery, all made by one compiled program."""

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp

from gsu_jax.data import Source
from gsu_jax.methods import Before, GradientSurgery, Method
from gsu_jax.report import (
    RULE,
    Point,
    best,
    drawing,
    pareto,
    points,
    read_results,
    sweep_front,
    terminal_table,
)
from gsu_jax.storage import exclusive, write_whole
from gsu_jax.study._checkpointed_runs import part_key
from gsu_jax.study._config import StudyConfig
from gsu_jax.study._study import Study
from gsu_jax.study._workspace import check_lender
from gsu_jax.unlearning import UnlearningResult, sweep

SWEPT = ("learning_rate", "retain_weight")
METRICS = ("seed", "fratio", "fid_retain", "nelbo_retain", "nelbo_forget", "diverged")


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
    width: int | None = None,
) -> str:
    """Runs what is missing of a sweep in the folder `out` and returns its table as text.

    Every rate with every weight and every seed is a run of

        GradientSurgery(learning_rate=rate, retain_weight=weight)

    all of them members of one program (`gsu_jax.unlearning`). The folder is that of a study
    (`gsu_jax.study.run_study`) with a row for each setting beside `before`: it resumes like one, a
    finished one is not run again, and more seeds, rates or weights extend it. In addition it has

    - `sweep.json`: {"schema", "config", "budget", "rule", "before", "settings"}; a setting has its
      two values, whether it is "pareto"-optimal and "best", and per seed the metrics `METRICS`
      (null where it diverged);
    - `front.png`: fratio against the cost of each setting (`gsu_jax.report`);
    - `best.json`: the method and settings that the rule names, with `dataset`, `forget` and
      `epochs`; none where no setting is within the budget.

    The rule: lowest mean fratio among the settings of which no seed diverged and whose retained
    nelbo lies at most `budget` percent above the pre-trained model's, in the mean over seeds.

    Args:
      config: what the study is.
      source: the images, from `gsu_jax.data.load`.
      out: its folder; made if need be.
      learning_rates: of Adam, each above 0.
      retain_weights: of the retain gradient that is added after the projection, each 0 or more.
      seeds: how many: 0 to seeds - 1.
      budget: percent of nelbo that forgetting may cost; another one asks for no new run.
      models_from: as for `run_study`.
      width: columns of the table; None for one block.

    Raises:
      ValueError, OSError: as `run_study`; a rate, weight or budget that can't be used; another
        sweep in `out`.
    """
    _check_numbers("learning_rates", learning_rates, "above 0", lambda x: x > 0)
    _check_numbers("retain_weights", retain_weights, "0 or more", lambda x: x >= 0)
    if not (math.isfinite(budget) and budget >= 0):
        raise ValueError(f"budget must be 0 or more, found {budget:g}.")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, found {seeds}.")
    if models_from is not None:
        check_lender(models_from)
    grid = [_setting(rate, weight) for rate in learning_rates for weight in retain_weights]
    study = _Sweep(config, source)
    with exclusive(out):
        study.open(out, [Before(), *grid], seeds, models_from)
        _check_same(study, grid)
        study.run()
        return _finish(study, budget, width)


class _Sweep(Study):
    """A study that makes all of its rows at once, when one that is missing is asked for."""

    @property
    def grid(self) -> list[Method]:
        return [method for method in self.methods if isinstance(method, GradientSurgery)]

    def unlearn(self, method: Method, seed: int) -> UnlearningResult:
        place = [m.title for m in self.grid].index(method.title), self.seeds.index(seed)
        result, runs = self.together, len(self.grid) * len(self.seeds)
        return UnlearningResult(
            jax.tree.map(lambda leaf: leaf[place], result.params),
            {name: values[place] for name, values in result.history.items()},
            result.seconds / runs,
            result.compile_seconds / runs,
            result.steps,
            result.stopped,
        )

    @cached_property
    def together(self) -> UnlearningResult:
        params = [self.generator("before", seed).params for seed in self.seeds]
        return sweep(
            self.model,
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *params),
            self.split.forget.images,
            self.split.retain.images,
            method=GradientSurgery(),
            settings={name: [getattr(m, name) for m in self.grid] for name in SWEPT},
            keys=jnp.stack([part_key(GradientSurgery.name, seed) for seed in self.seeds]),
            epochs=self.config.epochs,
        )


def _setting(rate: float, weight: float) -> GradientSurgery:
    label = f"rate-{rate:.15g}-weight-{weight:.15g}"
    return GradientSurgery(label=label, learning_rate=rate, retain_weight=weight)


def _check_numbers(
    name: str, values: Sequence[float], kind: str, fits: Callable[[float], bool]
) -> None:
    wrong = [value for value in values if not (math.isfinite(value) and fits(value))]
    if wrong or not values:
        found = ", ".join(f"{value:g}" for value in wrong) or "none"
        raise ValueError(f"{name} must be {kind}, at least one, found {found}.")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} must each be given once, found {[*values]}.")


def _check_same(study: _Sweep, grid: Sequence[Method]) -> None:
    """More of everything extends a sweep; fewer settings, or others, are another one."""
    wanted = {method.title for method in grid}
    if others := [method.title for method in study.grid if method.title not in wanted]:
        raise ValueError(
            f"--out {study.workspace.folder} holds another sweep, with {', '.join(others)}: name "
            "its learning rates and retain weights too, or give another --out."
        )


def _finish(study: _Sweep, budget: float, width: int | None) -> str:
    """Writes what is drawn from the rows, and returns what is to be printed."""
    folder = study.workspace.folder
    results = read_results(folder / "results.json")
    rows = results["rows"]
    found = points(rows, {method.title: asdict(method) for method in study.grid})
    front = {point.row for point in pareto(found)}
    chosen, rule = best(found, budget), RULE.format(budget=budget)

    def seeds_of(name: str) -> list[dict]:
        return [{m: row[m] for m in METRICS} for row in rows if row["method"] == name]

    def entry(point: Point) -> dict:
        flags = {"pareto": point.row in front, "best": point is chosen}
        values = {name: getattr(point, name) for name in SWEPT}
        return values | flags | {"seeds": seeds_of(point.row)}

    _write_json(
        folder / "sweep.json",
        {
            "schema": 1,
            "config": results["config"],
            "budget": budget,
            "rule": rule,
            "before": seeds_of("before"),
            "settings": [entry(point) for point in found],
        },
    )
    with drawing():
        picture = io.BytesIO()
        sweep_front(rows, found, budget).savefig(picture, dpi=150, metadata={"Software": None})
    write_whole(folder / "front.png", picture.getvalue())
    lines = [terminal_table(results, width=width), "", f"front: {folder / 'front.png'}"]
    path = folder / "best.json"
    if chosen is None:
        path.unlink(missing_ok=True)
        return "\n".join([*lines, f"best: none (the rule: {rule})"])
    method = next(method for method in study.grid if method.title == chosen.row)
    _write_json(
        path,
        {
            "schema": 1,
            "method": method.name,
            "settings": asdict(method),
            **{name: results["config"][name] for name in ("dataset", "forget", "epochs")},
            "rule": rule,
            "fratio": chosen.fratio.mean(),
            "nelbo_retain_percent_above_before": chosen.cost.mean(),
        },
    )
    return "\n".join([*lines, f"best: {chosen.row}, in {path} (the rule: {rule})"])


def _write_json(path: Path, content: dict) -> None:
    write_whole(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
