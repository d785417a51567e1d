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

    def means(self, models: list[Params], owner: Case, measure: str) -> list[float | None]:
        """The figure of each of some models."""
        mean = self._share if measure == SHARE else _mean
        return [mean(self.of(params, owner, measure), owner) for params in models]

    def row(self, owner: Case, measure: str, here: Weights, first: Weights) -> Record:
        """The figures of a request by one measure after one step; None where weights are gone."""
        own = Weights(owner.published, owner.checkpoint)
        values: dict[str, Any] = {"here": self.at(here, owner, measure)}
        for name, weights in (("own", own), ("original", first)):
            try:
                values[name] = self.at(weights, owner, measure)
            except CheckpointError:
                values[name] = None
        share = measure == SHARE
        mean, error = (self._share, self._share_error) if share else (_mean, _paired_error)
        pairs = {"error": ("here", "own"), "removed_error": ("original", "own")}
        return {
            "n": self.samples if share else len(values["here"]),
            **{name: mean(values[name], owner) for name in values},
            **{
                name: None
                if values[one] is None or values[other] is None
                else error(values[one], values[other], owner)
                for name, (one, other) in pairs.items()
            },
        }

    def _share(self, count: Count | None, owner: Case) -> float | None:
        errors = self.judge(owner).errors
        assert errors is not None
        return None if count is None else corrected_share(count, errors).share

    def _share_error(self, one: Count, other: Count, owner: Case) -> float:
        """The standard error of a difference of shares; a count of 0 is no share of exactly 0."""
        errors = self.judge(owner).errors
        assert errors is not None
        if one == other:
            return 0.0
        sees = errors.hits.found / errors.hits.n - errors.false_alarms.found / errors.false_alarms.n
        shares = [(count.found + 1) / (count.n + 2) for count in (one, other)]
        variance = sum(q * (1 - q) / self.samples for q in shares)
        return math.sqrt(variance) / max(sees, 1e-3)


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
            measured[measure]["retrained"] = gauge.means(retrained, owner, measure)
    drift = _drift(case, after) or kept.get("drift")
    found |= {"drift": drift, "models": models, "samples": gauge.samples}
    write_json(path, {"about": about, **found})
    return found


def removed(row: Record) -> float:
    """What the own step of a request removed; 0 if it is within its error or not known."""
    if None in (row["original"], row["own"], row["removed_error"]):
        return 0.0
    found = row["original"] - row["own"]
    return found if found > 1.96 * row["removed_error"] else 0.0


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


def _mean(value: np.ndarray | None, owner: Case) -> float | None:
    return None if value is None else _finite(np.mean(value))


def _paired_error(one: np.ndarray, other: np.ndarray, owner: Case) -> float | None:
    """The standard error of a mean difference over images; None for one image."""
    return _finite((one - other).std(ddof=1) / math.sqrt(len(one))) if len(one) > 1 else None


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
