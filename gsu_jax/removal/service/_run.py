"""`run`: unlearns, holds the utility budget, and publishes the new checkpoint beside the old."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import jax

from gsu_jax.models import Params
from gsu_jax.removal._digest import data_digest, weights_digest
from gsu_jax.removal._statements import provenance
from gsu_jax.removal.service._case import PRIVATE, Case
from gsu_jax.removal.service._facts import facts_digest, method_of
from gsu_jax.removal.service._files import Record
from gsu_jax.removal.service._listed import is_listed
from gsu_jax.removal.service._measures import Utility, utility
from gsu_jax.removal.service._plan import settings_of
from gsu_jax.removal.service._stop import unlearn_as_planned
from gsu_jax.runtime import describe_environment
from gsu_jax.storage import CheckpointError, exists, load, read_metadata, save


class Outcome(NamedTuple):
    """Result of `run`.

    Attributes:
        checkpoint: The SHA-256 of the new weights.
        published: Where they lie; "" if the budget was exceeded.
        utility: The `Utility`, in numbers.
        budget: Of it.
        seconds: Of the run; 0 if it was found finished.
        drift: The `Utility` against the original checkpoint of the series; None if the request has
            no drift budget.
        drift_budget: Of it, or None.
        stopped_after: The steps after which the run ended early, for `stop_at_budget`, or None.
    """

    checkpoint: str
    published: str
    utility: Utility
    budget: float
    seconds: float
    drift: Utility | None = None
    drift_budget: float | None = None
    stopped_after: int | None = None

    @property
    def excess(self) -> str:
        """Which budget is exceeded, in words; empty if none is."""
        for name, found, budget in (
            ("utility", self.utility, self.budget),
            ("drift", self.drift, self.drift_budget),
        ):
            if found is not None and budget is not None and not found.high <= budget:
                return f"{name} budget exceeded: up to {found.high:.4f}, allowed {budget:.4f}"
        return ""


def run(case: Case) -> Outcome:
    """Unlearns what was planned.

    The new checkpoint is written whole, under a name of its own; the old one is only read. Killed
    at any moment, the same call goes on: a finished checkpoint is found again, an unfinished run is
    repeated, with the same bits on the same device. If the interval of the loss of utility ends
    above the budget, nothing is published, and the ledger says `ran` and `undone`. The same holds
    for the drift, the loss since the original checkpoint of the series, and the drift budget.
    With `stop_at_budget` the run ends at the last of ten checks that is within both.

    Returns:
        An `Outcome`.

    Raises:
        CheckpointError: The old checkpoint is not that of the plan, or the new one is damaged.
        FileNotFoundError: The secret of the request is gone.
        LedgerError: The ledger cannot be written, or the clock was set back.
        ValueError: The request was not planned, its list of images was changed, or another command
            works on it.
    """
    operator = case.key("operator")
    with case.locked():
        stage = case.require("planned", "ran", "verified", "released", to="run")
        path = case.published
        if exists(path):
            outcome, record = _found(case)
        elif stage in ("verified", "released"):
            raise CheckpointError(
                f"checkpoint {path} was published and is gone", "undo the request"
            )
        else:
            outcome, params, record = _unlearn(case)
            if stage == "ran" and case.checkpoint != outcome.checkpoint:
                raise ValueError(
                    f"the run was repeated and gave other weights, {outcome.checkpoint[:16]}..., "
                    f"than the ledger has, {case.checkpoint[:16]}...: use the device of the first "
                    "run, or undo the request and plan it again"
                )
            if outcome.published:
                save(path, params, metadata=record | {"case": _as_record(case, outcome)})
        if stage == "planned":
            ran = provenance(**record)
            case.ledger.append("ran", case.number, operator, ran, checkpoint=outcome.checkpoint)
        if not outcome.published:
            base, undone = case.facts["base"], {"reason": outcome.excess}
            case.ledger.append("undone", case.number, operator, undone, checkpoint=base)
    return outcome


def replay(case: Case) -> tuple[str, str]:
    """Repeats a run, changes nothing, and returns the digest of the ledger and that of the replay.

    Raises:
        CheckpointError: The old checkpoint is gone or changed.
        ValueError: The request was not run, or its images are purged.
    """
    case.require("ran", "verified", "released", to="repeat the run")
    return case.checkpoint, _unlearn(case)[0].checkpoint


def _unlearn(case: Case) -> tuple[Outcome, Params, Record]:
    if not is_listed(case):
        raise ValueError(
            f"{case.folder / PRIVATE} does not list the images of the ledger: it was changed; plan "
            "the request again"
        )
    facts, split, model = case.facts, case.split, case.model
    before = case.load(case.base, facts["base"], "the one that was planned for")
    allowed, first = facts.get("drift_budget"), None
    if allowed is not None:
        first = case.load(*case.original, "the original of the series")
    method, started = method_of(facts), _now()
    settings = {"epochs": facts["epochs"], "seed": facts["seed"]}
    held_out = split.test.retain.images

    def measured(params: Params) -> Outcome:
        found = utility(model, before, params, held_out)
        drift = None if first is None else utility(model, first, params, held_out)
        return Outcome("", "", found, facts["utility_budget"], 0.0, drift, allowed)

    result = unlearn_as_planned(
        model, before, split.train.forget.images, split.train.retain.images, facts, facts["seed"],
        lambda params: bool(measured(params).excess),
    )  # fmt: skip
    outcome = measured(result.params)._replace(
        checkpoint=weights_digest(result.params),
        seconds=result.seconds,
        stopped_after=result.steps if result.stopped else None,
    )
    if result.stopped:
        settings["stopped_after"] = result.steps
    if not outcome.excess:
        outcome = outcome._replace(published=str(case.published))
    environment = {
        name: value for name, value in describe_environment().items() if value is not None
    }
    record = {
        "base": facts["base"],
        "data": data_digest(case.source),
        "method": method.name,
        "settings": settings_of(method) | settings,
        "environment": environment | _measured(outcome, _finite),
        "started": started,
        "finished": _now(),
    }
    return outcome, result.params, record


def _found(case: Case) -> tuple[Outcome, Record]:
    """The outcome of a run that was published, from the checkpoint itself."""
    path = case.published
    record = read_metadata(path)
    kept = record.pop("case", {})
    params = load(path, jax.eval_shape(case.model.init, jax.random.key(0)))
    digest = weights_digest(params)
    if kept.get("request") != case.number or kept.get("checkpoint") != digest:
        raise CheckpointError(
            f"checkpoint {path} is not of request {case.number}", "move it away and run again"
        )
    plan = facts_digest(case.facts)
    if case.stage == "planned" and kept.get("facts", plan) != plan:
        raise CheckpointError(
            f"checkpoint {path} is of an earlier plan of request {case.number}",
            "move it away and run again",
        )
    if case.stage != "planned" and digest != case.checkpoint:
        raise CheckpointError(
            f"checkpoint {path} has the SHA-256 {digest[:16]}..., and the ledger says "
            f"{case.checkpoint[:16]}...",
            "undo the request",
        )
    utility, drift = (Utility(**kept[n]) if n in kept else None for n in ("utility", "drift"))
    assert utility is not None
    facts = case.facts
    budgets = facts["utility_budget"], facts.get("drift_budget")
    return Outcome(digest, str(path), utility, budgets[0], 0.0, drift, budgets[1]), record


def _as_record(case: Case, outcome: Outcome) -> Record:
    said = {
        "request": case.number, "checkpoint": outcome.checkpoint, "facts": facts_digest(case.facts),
    }  # fmt: skip
    return said | _measured(outcome, Utility._asdict)


def _measured(outcome: Outcome, write: Callable[[Utility], Record]) -> Record:
    found = {"utility": outcome.utility, "drift": outcome.drift}
    return {name: write(value) for name, value in found.items() if value is not None}


def _finite(found: Utility) -> Record:
    return {n: v if math.isfinite(v) else None for n, v in found._asdict().items()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
