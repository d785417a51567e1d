"""The files of a sweep: `sweep.json`, `front.png` and `best.json`, from its `results.json`."""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

from gsu_jax.report._figures import drawing
from gsu_jax.report._results import read_results, with_role
from gsu_jax.report._sweep_front import RULE, SWEPT, Point, best, pareto, points, sweep_front
from gsu_jax.storage import write_whole

SEED_FIELDS = ("seed", "fratio", "fid_retain", "nelbo_retain", "nelbo_forget", "diverged")


def write_sweep_files(
    folder: str | os.PathLike, settings: Mapping[str, dict], budget: float
) -> tuple[dict, dict, dict | None]:
    """Ranks the settings of a finished sweep and writes sweep.json, front.png and best.json.

    - `sweep.json`: {"schema", "config", "budget", "rule", "before", "settings"}; a setting has its
      two values, the flags "pareto" and "best", and the metrics of each seed (null if it diverged).
    - `front.png`: fratio against the cost of each setting.
    - `best.json`: the method and the settings that the rule chooses, with `dataset`, `forget` and
      `epochs`; removed if no setting is within the budget.

    Args:
        folder: The folder of the sweep, with its `results.json`.
        settings: Row name -> the fields of its method.
        budget: The largest rise of the retained nelbo, in percent.

    Returns:
        The contents of `results.json`, `sweep.json` and `best.json` (None if it was removed).

    Raises:
        OSError: A file cannot be written.
    """
    folder = Path(folder)
    results = read_results(folder / "results.json")
    rows = results["rows"]
    found = points(rows, settings)
    front = pareto(found)
    chosen, rule = best(found, budget), RULE.format(budget=budget)
    sweep = {
        "schema": 1,
        "config": results["config"],
        "budget": budget,
        "rule": rule,
        "before": _seeds(rows, with_role("baseline", results)),
        "settings": [_entry(point, rows, front, chosen) for point in found],
    }
    _write_json(folder / "sweep.json", sweep)
    with drawing():
        picture = io.BytesIO()
        sweep_front(rows, found, budget).savefig(picture, dpi=150, metadata={"Software": None})
    write_whole(folder / "front.png", picture.getvalue())
    if chosen is None:
        (folder / "best.json").unlink(missing_ok=True)
        return results, sweep, None
    best_setting = {
        "schema": 1,
        "method": results["config"]["methods"][chosen.row]["name"],
        "settings": settings[chosen.row],
        **{name: results["config"][name] for name in ("dataset", "forget", "epochs")},
        "rule": rule,
        "fratio": chosen.fratio.mean(),
        "nelbo_retain_percent_above_before": chosen.cost.mean(),
    }
    _write_json(folder / "best.json", best_setting)
    return results, sweep, best_setting


def _seeds(rows: list[dict], method: str | None) -> list[dict]:
    return [{name: row[name] for name in SEED_FIELDS} for row in rows if row["method"] == method]


def _entry(point: Point, rows: list[dict], front: list[Point], chosen: Point | None) -> dict:
    flags = {"pareto": any(point is other for other in front), "best": point is chosen}
    values = {name: getattr(point, name) for name in SWEPT}
    return values | flags | {"seeds": _seeds(rows, point.row)}


def _write_json(path: Path, content: dict) -> None:
    write_whole(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
