"""The alternative to a series: all its requests at once, from the original checkpoint."""

import numpy as np

from gsu_jax.removal._request_file import RemovalRequest
from gsu_jax.removal.service._case import Case
from gsu_jax.removal.service._gauge import is_open
from gsu_jax.removal.service._plan import BEFORE_A_RUN, plan
from gsu_jax.removal.service._run import run


def unlearn_union(case: Case) -> Case:
    """Plans and runs the union of the requests of a series, and releases nothing.

    It is a case of its own, `NUMBER-union`, with the settings of the last request. Its budget is
    the drift budget, or the sum of the utility budgets. Killed on the way, the next call goes on. A
    union that was undone, as one that exceeded its budget is, is not run again.

    Args:
        case: The last request of the series.

    Returns:
        The case of the union.

    Raises:
        CheckpointError: The original checkpoint is gone or changed.
        ValueError: There is one request alone, or one of them was purged.
    """
    if case.facts.get("union_of"):
        raise ValueError(f"--union: {case.number} is a union itself")
    owners = case.rows
    if len(owners) < 2:
        raise ValueError(f"--union: request {case.number} is the only one of its series")
    purged = [owner.number for owner in owners if not is_open(owner)]
    if purged:
        raise ValueError(
            f"--union: request {purged[0]} was purged: from the original checkpoint the union "
            "would bring its images back"
        )
    union = case.other(f"{case.number}-union")
    numbers = [owner.number for owner in owners]
    if union.stage and union.facts_path.is_file() and union.facts["union_of"] != numbers:
        raise ValueError(f"--union: {union.number} is of other requests; close it first")
    if union.stage == "undone" or union.stage not in ("", *BEFORE_A_RUN):
        return _run(union) if union.stage == "ran" else union
    request = _request(case, owners, union.number)
    plan(request, union, modules=case.facts["modules"], seed=case.facts["seed"], union_of=numbers)
    return _run(union)


def _run(union: Case) -> Case:
    run(union.other(union.number))
    return union.other(union.number)


def _request(case: Case, owners: list[Case], number: str) -> RemovalRequest:
    facts = case.facts
    claim, what, value = _together(case, owners)
    budget = facts.get("drift_budget")
    if budget is None:
        budget = min(1.0, sum(owner.facts["utility_budget"] for owner in owners))
    return RemovalRequest(
        request=number, claim=claim, what=what, value=value, data=facts["data"],
        model=facts["model"], checkpoint=case.original.path, method=facts["method"],
        epochs=max(owner.facts["epochs"] for owner in owners), train=case.training,
        utility_budget=budget, learning_rate=facts.get("learning_rate"),
        stop_at_budget=facts.get("stop_at_budget", False),
    )  # fmt: skip


def _together(case: Case, owners: list[Case]) -> tuple[str, str, list]:
    """Claim, kind and values of all requests: their classes, or else the list of their images."""
    source = case.source
    claims = {owner.facts["claim"] for owner in owners}
    targets = [owner.target for owner in owners]
    if len(claims) == 1 and all(target and target[0] == source.label for target in targets):
        names = source.classes[source.label]
        numbers = sorted({n for target in targets if target for n in target[1]})
        return claims.pop(), "class", [names[n] for n in numbers]
    positions = np.unique(np.concatenate([owner.positions for owner in owners]))
    return "rows", "ids", positions.tolist()
