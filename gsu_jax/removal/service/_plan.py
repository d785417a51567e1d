"""`plan`: what a request asks, what it will cost, and what can be shown afterwards."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gsu_jax.checks import between
from gsu_jax.data import ClassRequest, Request, Source, SourceSplit, load
from gsu_jax.data.sources import settled_name
from gsu_jax.methods import METHODS, Method, Retrain, can_work_on, get_method
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.removal._digest import weights_digest
from gsu_jax.removal._events import ENDS
from gsu_jax.removal._request_file import RemovalRequest
from gsu_jax.removal.service._case import PRIVATE, Case
from gsu_jax.removal.service._facts import facts_digest, method_of
from gsu_jax.removal.service._files import Record, write_json
from gsu_jax.removal.service._imports import find_function, forget_of, load_model, load_params
from gsu_jax.removal.service._left_out import write_left_out
from gsu_jax.removal.service._measures import utility
from gsu_jax.removal.service._quote import (
    Quote,
    conflict,
    count_like,
    default_epochs,
    powers,
    quote_run,
    trainings,
)
from gsu_jax.report import save_grid

CHOICES = ("redirect_flow", "redirect_diffusion")  # of "auto", the first that the model can do
BEFORE_A_RUN = ("received", "identified", "planned", "undone")
SHOWN = 40  # images in the grid of what will go


class Plan(NamedTuple):
    """Result of `plan`.

    Attributes:
        facts: What `case.json` holds: no personal data.
        quote: Of the method.
        retraining: Of training once more without the images; None if it cannot be told.
        conflict: Mean cosine of the forget and the retain gradient, and the share below 0.
        power: Lines of the verification, with the effect and the chance to see it.
        trainings: Tiers of the verification, with the models that each trains, and the seconds.
    """

    facts: Record
    quote: Quote
    retraining: Quote | None
    conflict: tuple[float, float]
    power: list[tuple[str, str, float]]
    trainings: list[tuple[int, int, float]]


def plan(
    request: RemovalRequest,
    case: Case | None,
    *,
    modules: str | Path = ".",
    seed: int = 0,
    union_of: Sequence[str] = (),
) -> Plan:
    """Measures what a request will take, and writes it down.

    With a case, the events `received`, `identified` and `planned` enter the ledger, each once, and
    the files of the case are written. Without one, nothing is written. No checkpoint changes.
    What earlier requests of the series took out is not retained.

    Args:
        request: As `read_request` returns it.
        case: Of the same number, or None for a rehearsal.
        modules: The folder of the modules that the request names.
        seed: Of all randomness of the run.
        union_of: The numbers of the requests that this one takes together, from the checkpoint that
            the first of them started from; `series` gives them.

    Returns:
        A `Plan`.

    Raises:
        LedgerError: The ledger cannot be written, or the clock was set back.
        ValueError: The deadline has passed, the data, model or checkpoint does not fit the request,
            the method cannot work on the model, the request was run before, or earlier requests
            spent its drift budget.
    """
    if case is not None:
        case.key("operator")
        _check_stage(case)
        day = case.check_clock().astimezone(UTC).date()  # as `deadline_of`
        if request.deadline is not None and request.deadline < day:
            raise ValueError(
                f"deadline must not have passed, got {request.deadline}, and the last event of the "
                f"ledger is of {day}"
            )
    modules = Path(modules).resolve()
    source, model = load(request.data), load_model(request.model, modules)
    forgets = forget_of(request, modules)
    asked = forgets.split(source)
    params = load_params(request.checkpoint.resolve(), model)
    base = weights_digest(params)
    if case is not None and not union_of and case.current.get("weights", base) != base:
        raise ValueError(
            f"checkpoint {request.checkpoint} is not the current one, which is "
            f"{case.current['checkpoint']}: give that one in the request"
        )
    earlier = case.behind(base) if case is not None and not union_of else []
    split = case.without(earlier, asked, source) if case is not None else asked
    method, reason = choose(request.method, model)
    if request.drift_budget is not None and earlier:
        _check_drift(request.drift_budget, earlier[0], method, params, split)
    if request.learning_rate is not None:
        between(0, 1, learning_rate=request.learning_rate)
        if method.visits == "nothing":
            raise ValueError(f"learning_rate: {method.name} takes no steps; leave it out")
        method = replace(method, learning_rate=request.learning_rate)
        reason += f"; learning rate {request.learning_rate:g}"
    if request.train is not None and request.train.function:
        find_function(request.train.function, modules)
    forget, retain = split.train.forget.images, split.train.retain.images
    epochs = request.epochs or default_epochs(method, len(forget))
    quote = quote_run(model, params, forget, retain, method, epochs)
    retraining, trained = None, 0
    if request.train is not None and request.train.epochs:
        trained = request.train.epochs
        again = Retrain(request.train.learning_rate, request.train.batch_size)
        retraining = quote_run(model, params, forget, retain, again, trained)
    target = target_of(forgets, source)
    facts: Record = {
        "request": request.request,
        "claim": request.claim,
        "what": request.what,
        "count": len(forget),
        "retained": len(retain),
        "held_out": split.test.counts,
        "data": settled_name(request.data),
        "fingerprint": source.fingerprint,
        "model": request.model,
        "modules": str(modules),
        "checkpoint": str(request.checkpoint.resolve()),
        "base": base,
        "method": method.name,
        "reason": reason,
        "epochs": epochs,
        "seed": seed,
        "utility_budget": request.utility_budget,
        "train": request.train and request.train._asdict(),
        "deadline": request.deadline and str(request.deadline),
    }
    if request.learning_rate is not None:
        facts["learning_rate"] = request.learning_rate
    if request.stop_at_budget:
        facts["stop_at_budget"] = True
    if request.drift_budget is not None:
        facts["drift_budget"] = request.drift_budget
    if earlier:
        facts["earlier"] = len(earlier)
    if union_of:
        facts["union_of"] = list(union_of)
    found = Plan(
        facts,
        quote,
        retraining,
        conflict(model, params, forget, retain),
        powers(request.claim, len(forget), count_like(source, split, target)),
        trainings(request.claim, retraining, trained, quote),
    )
    if case is not None:
        _write_down(request, case, found, asked, target)
    return found


def _check_stage(case: Case) -> None:
    if (stage := case.stage) not in ("", *BEFORE_A_RUN):
        fix = "give it another number" if stage in ENDS else "undo it first"
        raise ValueError(
            f"request {case.number} cannot be planned: its last step is {stage!r}; {fix}"
        )


def _check_drift(
    budget: float, first: Case, method: Method, params: Params, split: SourceSplit
) -> None:
    """Raises ValueError if earlier requests spent the drift budget; retraining starts anew."""
    original = first.load(first.base, first.facts["base"], "the original, which drift_budget needs")
    if isinstance(method, Retrain):
        return
    spent = utility(first.model, original, params, split.test.retain.images).high
    if not spent <= budget:
        raise ValueError(
            f"drift_budget is spent: the checkpoint is up to {spent:.4f} worse than the original, "
            f'allowed {budget:.4f}; give method = "retrain", unlearn the series at once (gsu-jax '
            "removal series --union), or allow more"
        )


def target_of(forget: Request, source: Source) -> tuple[str, tuple[int, ...]] | None:
    """Returns the attribute and classes of a request, or None for a list of images."""
    return forget.target(source) if isinstance(forget, ClassRequest) else None


def choose(name: str, model: GenerativeModel) -> tuple[Method, str]:
    """Returns the method and why: for "auto", by what the model has."""
    if name != "auto":
        method = get_method(name)
        method.check(model)
        return method, "the request names it"
    able = next((name for name in CHOICES if can_work_on(METHODS[name], model)), None)
    if able is None:
        return get_method("neg_grad_plus"), f"the model lacks what {' and '.join(CHOICES)} need"
    return get_method(able), f"the model has {', '.join(METHODS[able].needs)}"


def _write_down(
    request: RemovalRequest,
    case: Case,
    found: Plan,
    split: SourceSplit,
    target: Any,
) -> None:
    operator, positions = case.key("operator"), np.flatnonzero(split.train.mask)
    with case.locked(new=True):
        _check_stage(case)  # another command may have run it since
        done = {event.type for event in case.events}
        try:
            secret = case.secrets.load(case.number)
        except FileNotFoundError:
            if done:
                raise ValueError(
                    f"the secret of request {case.number} is lost from {case.secrets.folder}; "
                    "refuse it, and ask anew under another number"
                ) from None
            secret = case.secrets.create(case.number)
        received = request.received(secret)
        if "received" in done and case.last("received").predicate != received:
            raise ValueError(
                f"request {case.number} asked for something else when it was received; give the "
                "new one another number"
            )
        # First what `purge` and `close` need, so that they can end a plan that was killed.
        if "received" not in done:
            case.ledger.append("received", case.number, operator, received)
        write_json(case.facts_path, found.facts)
        private = {"positions": positions.tolist(), "target": target}
        write_json(case.folder / PRIVATE, private, private=True)
        shown = split.train.forget.images[:SHOWN]
        save_grid(case.folder / "forget.png", shown, private=True)
        write_left_out(case.folder, split, operator)
        if "identified" not in done:
            identified = {"count": len(positions), "commitments": secret.commit(positions)}
            case.ledger.append("identified", case.number, operator, identified)
        predicate = _planned(found)
        same = case.stage == "planned" and _same(case.last("planned").predicate, predicate)
        if not same:
            case.ledger.append("planned", case.number, operator, predicate)


def _planned(found: Plan) -> Record:
    facts, retraining = found.facts, found.retraining
    again = "its cost cannot be told" if retraining is None else f"{retraining.seconds:.3g} s"
    return {
        "method": facts["method"],
        "settings": settings_of(method_of(facts))
        | {"epochs": facts["epochs"], "seed": facts["seed"]},
        "reasons": facts["reason"],
        "alternatives": f"retraining: {again}",
        "quote": {"seconds": round(found.quote.seconds, 3), "steps": found.quote.steps},
        "facts": facts_digest(facts),
    }


def _same(one: Record, other: Record) -> bool:
    return all(one.get(name) == other[name] for name in ("method", "settings", "facts"))


def settings_of(method: Method) -> Record:
    """The settings of a method that JSON can hold."""
    return {
        name: value
        for name, value in asdict(method).items()
        if isinstance(value, str | int | float | bool) or value is None
    }
