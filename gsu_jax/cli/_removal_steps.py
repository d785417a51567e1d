"""The steps of a removal request as commands: each calls one function and prints what it found."""

import argparse
from pathlib import Path

from gsu_jax.audit import Verdict
from gsu_jax.cli._programs import keep_programs
from gsu_jax.cli._removal_ledger import count
from gsu_jax.cli._removal_series import series_lines
from gsu_jax.removal import read_request
from gsu_jax.removal.service import (
    Case,
    Plan,
    Quote,
    close,
    deadline_of,
    newest,
    plan,
    purge,
    release,
    replay,
    report,
    run,
    series,
    undo,
    verify_case,
)


def _case(options: argparse.Namespace, number: str) -> Case:
    return Case(
        options.folder,
        number,
        ledger=options.ledger,
        keys=options.keys,
        although_clock_set_back=getattr(options, "although_clock_set_back", False),
    )


def plan_step(options: argparse.Namespace) -> int:
    """Plans a request, and prints what it will take."""
    request = read_request(options.file)
    case = None
    if not options.dry_run:
        case = _case(options, request.request)
        case.project = options.project
        if options.ledger is None and not options.project and not case.is_begun:
            case.project = request.model.partition(":")[2]
    keep_programs()
    found = plan(request, case, modules=Path(options.file).parent, seed=options.seed)
    print("\n".join(_plan_lines(found)))
    if case is None:
        print("nothing was written; without --dry-run the request is planned")
    else:
        print(
            f"planned: {case.folder}; look at {case.folder / 'forget.png'}, then gsu-jax removal "
            f"run {case.number}"
        )
    return 0


def _plan_lines(found: Plan) -> list[str]:
    facts, (cosine, share) = found.facts, found.conflict
    held = facts["held_out"]
    lines = [
        f"request {facts['request']}, claim {facts['claim']}",
        f"  forget {count(facts['count'], 'training image')}, retain {facts['retained']:,}; held "
        f"out: {held['forget']:,} and {held['retain']:,}",
        f"  method {facts['method']}: {facts['reason']}",
        f"  cost {_cost(found.quote)}",
        "  retraining instead: "
        + (_cost(found.retraining) if found.retraining else "cost unknown; give train.epochs"),
        *(
            f"  verify --tier {tier}: {models} models to train, once, {seconds:.0f} s"
            for tier, models, seconds in found.trainings
        ),
        f"  conflict of forget and retain gradients: mean cosine {cosine:+.2f}, below 0 in "
        f"{share:.0%} of batches",
        f"  utility budget {facts['utility_budget']:.2%}" + _series(facts),
        "  what verify can see at this size:",
    ]
    return [
        *lines,
        *(
            f"    {name:<24} {effect}: power {power:.2f}"
            + ("" if power >= 0.8 else ", NOT DETECTABLE")
            for name, effect, power in found.power
        ),
    ]


def _series(facts: dict) -> str:
    """What a request of a series has more."""
    said = ""
    if "drift_budget" in facts:
        said += f", drift budget {facts['drift_budget']:.2%} since the original"
    if "earlier" in facts:
        said += f"; images of {count(facts['earlier'], 'earlier request')} are left out"
    return said


def _cost(quote: Quote) -> str:
    compiling = f" and {quote.compile_seconds:.1f} s of compiling" if quote.compile_seconds else ""
    memory = f"; {quote.peak_bytes / 2**30:.1f} GiB at the peak" if quote.peak_bytes else ""
    return f"{quote.seconds:.1f} s for {quote.steps:,} steps{compiling}{memory}"


def run_step(options: argparse.Namespace) -> int:
    """Runs it, or repeats it to compare the weights."""
    case = _case(options, options.number)
    keep_programs()
    if options.replay:
        ledger, again = replay(case)
        same = ledger == again
        print(f"ledger {ledger}\nreplay {again}\n{'the same' if same else 'not the same'} weights")
        return 0 if same else 1
    found = run(case)
    for name, cost, budget in (
        ("utility", found.utility, found.budget),
        ("drift since the original", found.drift, found.drift_budget),
    ):
        if cost is not None:
            print(
                f"{name}: bound of {cost.n:,} held-out retained images {cost.increase:+.2%} "
                f"[{cost.low:+.2%}, {cost.high:+.2%}], budget {budget:.2%}"
            )
    if not found.published:
        stops = case.facts.get("stop_at_budget")
        early = " at the first check" if stops else ""
        rule = "" if stops else ", stop_at_budget = true"
        print(
            f"over budget{early}: nothing was published, and {case.base} stays. Give the request "
            f"another method, fewer epochs, a smaller learning_rate{rule} or a larger budget, and "
            "plan it again"
        )
        return 1
    if found.stopped_after:
        print(f"stopped after {found.stopped_after:,} steps: the next check was over the budget")
    print(
        f"published: {found.published}\nweights: {found.checkpoint}\nnext: gsu-jax removal verify "
        f"{case.number}"
    )
    return 0


def verify_step(options: argparse.Namespace) -> int:
    """Prints a line for each test."""
    case = _case(options, options.number)
    keep_programs()
    found = verify_case(
        case,
        tier=options.tier,
        models=options.models,
        samples=options.samples,
        shadows=options.shadows,
    )
    for line in found.lines:
        power = (
            "" if line.verdict == Verdict.NOT_RUN else f" (n {line.n:,}, power {line.power:.2f})"
        )
        print(f"{line.verdict:<15} {line.name}: {found.said[line.name]}{power}")
    for name, each in found.calibration.items():
        print(f"{'':<15} {name} {each.sentence()}")
    if found.calibration:
        print(f"{'':<15} level of each line of tier 1 and above {found.level:.2%}")
    print(f"verdict: {found.decides.verdict}, by {found.decides.name}")
    return 1 if found.decides.verdict == Verdict.FAILED else 0


def report_step(options: argparse.Namespace) -> int:
    """Prints where the page is."""
    print(report(_case(options, options.number), with_pictures=options.with_pictures))
    return 0


def release_step(options: argparse.Namespace) -> int:
    """Prints the new current checkpoint."""
    case = _case(options, options.number)
    path = release(case, although_failed=options.although_failed)
    print(f"current: {path}, in {case.home / 'current.json'}")
    _print_deadline(case)
    return 0


def _print_deadline(case: Case) -> None:
    said = deadline_of(case)
    if said:
        print(f"deadline {said}")


def undo_step(options: argparse.Namespace) -> int:
    """Prints the old one."""
    case = _case(options, options.number)
    print(f"current: {undo(case, reason=options.reason)}, in {case.home / 'current.json'}")
    return 0


def series_step(options: argparse.Namespace) -> int:
    """Prints what is left of each request, and what to do."""
    case = _case(options, options.number or newest(options.folder, options.ledger))
    keep_programs()
    found = series(case, samples=options.samples, models=options.models, union=options.union)
    print("\n".join(series_lines(found, case.number)))
    return 0


def purge_step(options: argparse.Namespace) -> int:
    """Prints what went."""
    case = _case(options, options.number)
    items = purge(case, original=options.original)
    print(f"purged: {', '.join(items)}" if items else "nothing was left to purge")
    if items and case.stage in ("ran", "verified"):
        print(f"request {case.number} cannot be verified any more, unless it is undone and planned")
    return 0


def close_step(options: argparse.Namespace) -> int:
    """Prints the receipt."""
    case = _case(options, options.number)
    event = close(case, refused=options.refuse)
    print(f"{event.type}: the key of the request is destroyed\nreceipt: {event.hash}")
    _print_deadline(case)
    print("remove the request file and the folder of images yourself: they are not kept here")
    return 0
