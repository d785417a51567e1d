"""The settings of an arena: chosen on tuning requests, and fixed once closed requests are run."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gsu_jax.methods import Before, Method, Retrain
from gsu_jax.report import Aims, excess, level_of
from gsu_jax.runtime import announce, on_first_process
from gsu_jax.storage import differences, write_whole
from gsu_jax.study._arena_field import Field
from gsu_jax.study._method_records import method_from, method_record
from gsu_jax.study._spaces import Space, draw_trials

Record = dict[str, Any]
SCHEMA = 1
REFERENCES = (Before.name, Retrain.name)


class Plan(NamedTuple):
    """How the settings of all methods are chosen.

    Attributes:
        requests: of the tuning.
        seeds: of each trial.
        samples: drawn from each trial's model.
        phi_images: for phi of it.
        trials: of each method.
        aims: of the objective.
    """

    requests: list[str]
    seeds: int
    samples: int
    phi_images: int
    trials: int
    aims: Aims

    def record(self) -> Record:
        """Returns the plan as chosen.json keeps it."""
        return {
            "objective": self.aims.text(),
            "aims": self.aims._asdict(),
            "tuning": {
                "requests": self.requests,
                "seeds": self.seeds,
                "samples": self.samples,
                "phi_images": self.phi_images,
            },
            "trials": self.trials,
        }


def choose(
    field: Field, plan: Plan, rivals: Sequence[tuple[Method, Space]]
) -> tuple[Record, list[Method]]:
    """Returns the content of chosen.json, and every method of the arena with its setting.

    Methods of earlier runs stay. A method with closed rows keeps its setting without a trial.

    Raises:
        ValueError: closed rows exist, and the settings were chosen in another way.
    """
    path, record = field.folder / "chosen.json", plan.record()
    earlier, fixed = _read(path), _with_closed_rows(field.folder)
    methods: dict[str, Record] = {}
    if fixed:
        _check_same_plan(path, earlier, record)
    if earlier and not [*differences(_plan_of(earlier), record)]:
        methods = dict(earlier["methods"])
    ours = {method.title: method for method, _ in rivals}
    for number, (method, space) in enumerate(rivals, 1):
        entry = _start(method, space)
        if method.title in fixed:
            _check_same_start(path, methods, method.title, entry)
            continue
        announce(f"tune {method.title} ({number} of {len(rivals)})")
        methods[method.title] = entry | _tune(field, plan, method, space)
    chosen = {"schema": SCHEMA, **record, "methods": methods}
    chosen = json.loads(json.dumps(chosen))
    if chosen != earlier:
        _write(path, chosen)
    return chosen, [
        replace(ours[title], **entry["settings"])
        if title in ours
        else method_from(title, entry["method"])
        for title, entry in methods.items()
    ]


def _tune(field: Field, plan: Plan, method: Method, space: Space) -> Record:
    """Runs the trials of a method on all tuning requests and returns the best."""
    tried, scores = draw_trials(method, space, plan.trials), []
    for request in plan.requests:
        level = level_of(field.run_models(request))
        results = field.run_trials(request, method.title, tried, plan.seeds)
        found: dict[str, list[float]] = {trial.title: [] for trial in tried}
        for row in results["rows"]:
            if row["method"] in found and row["seed"] < plan.seeds:
                found[row["method"]].append(excess(row, level, plan.aims))
        scores.append([np.mean(values) for values in found.values()])
    objectives = np.mean(scores, axis=0)
    trial = int(objectives.argmin())
    settings = {name: getattr(tried[trial], name) for name in space}
    return {
        "trial": trial,
        "settings": settings,
        "method": method_record(replace(method, **settings)),
        "objectives": [float(value) for value in objectives],
    }


def _start(method: Method, space: Space) -> Record:
    """What the trials of a method are drawn from."""
    space = {name: [*values] for name, values in space.items()}
    return {"default": method_record(method), "space": space}


def _plan_of(chosen: Record) -> Record:
    return {name: value for name, value in chosen.items() if name not in ("schema", "methods")}


def _check_same_plan(path: Path, earlier: Record, record: Record) -> None:
    if not earlier:
        raise ValueError(
            f"--out {path.parent} has rows of closed requests, but no {path.name} that says how "
            "their settings were chosen; give another --out"
        )
    if found := [*differences(_plan_of(earlier), json.loads(json.dumps(record)))]:
        raise _chosen_already(path, found)


def _check_same_start(path: Path, methods: Record, title: str, entry: Record) -> None:
    kept = {name: methods.get(title, {}).get(name) for name in entry}
    if found := [*differences(kept, json.loads(json.dumps(entry)), title)]:
        raise _chosen_already(path, found)


def _chosen_already(path: Path, found: Sequence[str]) -> ValueError:
    return ValueError(
        f"--out {path.parent} has run its closed requests, so no setting can be chosen again:\n  "
        + "\n  ".join(found)
        + "\nGive the same arguments to go on, or another --out"
    )


@on_first_process
def _with_closed_rows(folder: Path) -> list[str]:
    """Returns the methods with a row on any closed request."""
    found: dict[str, None] = {}
    for path in sorted((folder / "closed").glob("*/results.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        found |= dict.fromkeys(row["method"] for row in rows if row["method"] not in REFERENCES)
    return [*found]


@on_first_process
def _read(path: Path) -> Record:
    """Returns the content of chosen.json; nothing if there is none."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] == SCHEMA and isinstance(content["methods"], dict):
            return content
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{path} is not that of an arena of this release; give another --out")


@on_first_process
def _write(path: Path, chosen: Record) -> None:
    write_whole(path, json.dumps(chosen, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
