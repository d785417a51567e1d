"""What checkpoints of a series still know of the images of each request."""

import math
from typing import Any

import jax
import numpy as np

from gsu_jax.metrics import Count, corrected_share
from gsu_jax.models import Params
from gsu_jax.removal.service._case import PRIVATE, Case, Weights
from gsu_jax.removal.service._files import Record, read_json, write_json
from gsu_jax.removal.service._measures import Judge, evidence, judge_network, utility
from gsu_jax.removal.service._models import Trained
from gsu_jax.storage import CheckpointError

COLUMN = "column.json"
EVIDENCE, SHARE = "evidence", "share"
MEASURES = {"rows": (EVIDENCE,), "class": (EVIDENCE, SHARE), "concept": (SHARE,)}
IMAGES = 128  # of a request
PURGED = "its list of images was purged"


class Gauge:
    """Figures of checkpoints on the images of requests; each is computed once.

    Args:
        case: Whose model, data and judge are used.
        samples: Of a checkpoint, for shares.
    """

    def __init__(self, case: Case, samples: int):
        self.case, self.samples = case, samples
        self._found: dict[tuple[str, str, str], Any] = {}
        self._bare: dict[str, Judge] = {}
        self._judges: dict[str, Judge] = {}

    def at(self, weights: Weights, owner: Case, measure: str) -> Any:
        """Returns phi of the images of a request `[n]`, or the count of samples like them."""
        name = (weights.digest, owner.number, measure)
        if name not in self._found:
            params = self.case.load(*weights, "the one that the ledger has")
            self._found[name] = self.of(params, owner, measure)
        return self._found[name]

    def of(self, params: Params, owner: Case, measure: str) -> Any:
        """The same of parameters."""
        if measure == EVIDENCE:
            return evidence(self.case.model, params, self.images(owner))
        return self.judge(owner).hits(self.case.model, params, self.samples)

    def images(self, owner: Case) -> np.ndarray:
        """At most `IMAGES` of the images of a request."""
        some = np.random.default_rng(0).permutation(len(owner.positions))[:IMAGES]
        return self.case.source.train.images[owner.positions[np.sort(some)]]

    def judge(self, owner: Case) -> Judge:
        """The judge of the classes of a request, with its errors on all held-out images."""
        if owner.number in self._judges:
            return self._judges[owner.number]
        assert owner.target is not None
        (attribute, classes), source = owner.target, self.case.source
        if attribute not in self._bare:
            network = judge_network(source, attribute)
            like = jax.eval_shape(network.init, jax.random.key(0))
            params = Trained(self.case, like).judge(attribute, like)
            self._bare[attribute] = Judge(network, params, (), None)
        judge = self._bare[attribute]._replace(classes=classes)
        shown = np.isin(source.test.attributes[attribute], classes)
        self._judges[owner.number] = judge.with_errors(source.test, shown)
        return self._judges[owner.number]

    def row(self, owner: Case, measure: str, here: Weights, first: Weights) -> Record:
        """The figures of a request by one measure after one step; None where weights are gone."""
        own = Weights(owner.published, owner.checkpoint)
        values = {"here": self.at(here, owner, measure)}
        for name, weights in (("own", own), ("original", first)):
            try:
                values[name] = self.at(weights, owner, measure)
            except CheckpointError:
                values[name] = None
        if measure == SHARE:
            return self._share_row(owner, values)
        difference = values["here"] - (values["here"] if values["own"] is None else values["own"])
        n = len(difference)
        error = difference.std(ddof=1) / math.sqrt(n) if n > 1 else math.inf
        means = {name: _mean(value) for name, value in values.items()}
        return {"n": n, "error": _finite(error), **means}

    def _share_row(self, owner: Case, values: dict[str, Count | None]) -> Record:
        errors = self.judge(owner).errors
        assert errors is not None
        sees = errors.hits.found / errors.hits.n - errors.false_alarms.found / errors.false_alarms.n
        counts = [values[name] for name in ("here", "own") if values[name] is not None]
        # A count of 0 is no share of exactly 0.
        shares = [(count.found + 1) / (count.n + 2) for count in counts]
        variance = sum(q * (1 - q) / self.samples for q in shares)
        same = values["here"] == values["own"] and len(counts) == 2
        return {
            "n": self.samples,
            "error": 0.0 if same else math.sqrt(variance) / max(sees, 1e-3),
            **{
                name: None if count is None else corrected_share(count, errors).share
                for name, count in values.items()
            },
        }


def column(case: Case, gauge: Gauge, models: int) -> Record:
    """What is left of each request after one step, from `column.json` or measured now.

    Args:
        case: Of the step.
        gauge: That measures.
        models: Retrained ones to compare with, if the request says how to train them.

    Returns:
        Request -> measure -> figures in `rows`, the drift, and why a request was not measured.

    Raises:
        CheckpointError: The checkpoint of the step is gone or changed.
    """
    path, rows = case.folder / COLUMN, case.rows
    about = {"checkpoint": case.checkpoint, "rows": [owner.number for owner in rows]}
    kept = read_json(path) if path.is_file() else {}
    if kept.get("about") != about:
        kept = {}
    if case.training is None or not is_open(case):
        models = 0
    if kept and kept["models"] >= models and kept["samples"] >= gauge.samples:
        return kept
    here = Weights(case.published, case.checkpoint)
    after = case.load(*here, "the one that was published")
    retrained = Trained(case, after).retrained(models) if models else []
    found: Record = {"rows": dict(kept.get("rows", {})), "silent": {}}
    for owner in rows:
        if not is_open(owner):
            if owner.number not in found["rows"]:
                found["silent"][owner.number] = PURGED
            continue
        found["rows"][owner.number] = measured = {}
        for measure in MEASURES[owner.facts["claim"]]:
            if measure == SHARE and (why := _blind(gauge.judge(owner))):
                found["silent"][owner.number] = why
                continue
            measured[measure] = gauge.row(owner, measure, here, case.original)
            values = [gauge.of(params, owner, measure) for params in retrained]
            if measure == SHARE:
                errors = gauge.judge(owner).errors
                values = [corrected_share(value, errors).share for value in values]
            measured[measure]["retrained"] = [_mean(value) for value in values]
    drift = _drift(case, after) or kept.get("drift")
    found |= {"drift": drift, "models": models, "samples": gauge.samples}
    write_json(path, {"about": about, **found})
    return found


def is_open(case: Case) -> bool:
    """Whether it is still known which images a request is about."""
    return (case.folder / PRIVATE).is_file()


def _drift(case: Case, after: Params) -> Record | None:
    if not is_open(case):
        return None
    try:
        first = case.load(*case.original, "the original of the series")
    except CheckpointError:
        return None
    found = utility(case.model, first, after, case.split.test.retain.images)
    return {name: _finite(value) for name, value in found._asdict().items()}


def _blind(judge: Judge) -> str:
    """Why a judge cannot count a class; empty if it can."""
    if judge.errors is None:
        return "the held-out images do not show both what goes and what stays"
    hits, alarms = (found / n for found, n in judge.errors)
    return "" if hits > alarms else "the judge does not find the class on held-out images"


def _mean(value: Any) -> float | None:
    return None if value is None else _finite(np.mean(value))


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
