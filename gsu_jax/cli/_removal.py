"""`gsu-jax removal ...`: answer a removal request, and keep the record.

gsu-jax removal ledger init-keys removals/keys  the keys of operator and verifier
gsu-jax removal plan REQUEST.toml               what it will take
gsu-jax removal run NUMBER                      a new checkpoint beside the old one
gsu-jax removal verify NUMBER [--tier 1]        verdicts, signed by the verifier
gsu-jax removal report NUMBER                   a page without names
gsu-jax removal release NUMBER | undo NUMBER    which checkpoint is the current one
gsu-jax removal purge NUMBER, close NUMBER      what shows the images goes; the receipt
gsu-jax removal ledger verify|show LEDGER       the record

Exit codes: 0; 1 after a budget that was exceeded, a line that FAILED, or a ledger that is not
whole; 2 after a mistake, which changes nothing.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gsu_jax.audit import Verdict
from gsu_jax.cli._mistakes import Parser, report_mistake
from gsu_jax.cli._programs import keep_programs
from gsu_jax.cli._removal_ledger import add_ledger, count, printable
from gsu_jax.removal import read_request
from gsu_jax.removal.service import (
    Case,
    Plan,
    Quote,
    close,
    plan,
    purge,
    release,
    replay,
    report,
    run,
    undo,
    verify_case,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: of the command line; None for those of this process.

    Returns:
        The exit code.
    """
    sys.stdout.reconfigure(encoding="utf-8")
    options = _parser().read(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        return options.run(options)
    except (ValueError, OSError, TypeError, MemoryError) as error:
        return report_mistake(printable(" ".join(str(error).split())))


def _parser() -> Parser:
    parser = Parser(
        prog="gsu-jax removal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, run: Callable[[argparse.Namespace], int], line: str) -> Parser:
        command = groups.add_parser(name, help=line, description=line)
        what = ("file", "REQUEST.toml") if name == "plan" else ("number", "NUMBER")
        command.add_argument(what[0], metavar=what[1], help="the request")
        command.add_argument("--folder", default="removals", metavar="DIR", help="of all requests")
        command.add_argument("--ledger", metavar="LEDGER", help="if not DIR/ledger.sqlite")
        command.add_argument("--keys", metavar="DIR", help="if not DIR/keys")
        command.set_defaults(run=run)
        return command

    planning = add("plan", _plan, "what a request will take; no checkpoint changes")
    planning.add_argument("--project", metavar="NAME", help="begins a ledger of this name")
    planning.add_argument("--seed", type=int, default=0, help="of the run")
    planning.add_argument("--dry-run", action="store_true", help="write nothing at all")
    running = add("run", _run, "unlearn, and publish the new checkpoint beside the old one")
    running.add_argument("--replay", action="store_true", help="repeat it, and compare the weights")
    verifying = add("verify", _verify, "test the new checkpoint; the verifier signs")
    verifying.add_argument("--tier", type=int, default=0, help="0: minutes; 1: retrains models")
    verifying.add_argument("--models", type=int, default=8, help="of each kind, at tier 1")
    verifying.add_argument("--samples", type=int, default=10_000, help="of a model")
    reporting = add("report", _report, "write report.html and report.json, which name no image")
    reporting.add_argument("--with-pictures", action="store_true", help="show the images as well")
    releasing = add("release", _release, "make the new checkpoint the current one")
    releasing.add_argument("--although-failed", action="store_true", help="despite a FAILED line")
    undoing = add("undo", _undo, "make the old checkpoint the current one again")
    undoing.add_argument("--reason", default="the operator undid it", help="which names nobody")
    purging = add("purge", _purge, "remove pictures, lists, caches and models of a request")
    purging.add_argument("--original", action="store_true", help="the old checkpoint too")
    closing = add("close", _close, "purge, destroy the key of the request, print the receipt")
    closing.add_argument("--refuse", default="", metavar="REASON", help="which names nobody")
    add_ledger(groups)
    return parser


def _case(options: argparse.Namespace, number: str, project: str | None = None) -> Case:
    return Case(options.folder, number, ledger=options.ledger, keys=options.keys, project=project)


def _plan(options: argparse.Namespace) -> int:
    request = read_request(options.file)
    case = None
    if not options.dry_run:
        fresh = options.ledger is None and not Path(options.folder, "ledger.sqlite").exists()
        name = request.model.partition(":")[2]
        case = _case(options, request.request, options.project or (name if fresh else None))
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
        f"  conflict of forget and retain gradients: mean cosine {cosine:+.2f}, below 0 in "
        f"{share:.0%} of batches",
        f"  utility budget {facts['utility_budget']:.2%}",
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


def _cost(quote: Quote) -> str:
    compiling = f" and {quote.compile_seconds:.1f} s of compiling" if quote.compile_seconds else ""
    return f"{quote.seconds:.1f} s for {quote.steps:,} steps{compiling}"


def _run(options: argparse.Namespace) -> int:
    case = _case(options, options.number)
    keep_programs()
    if options.replay:
        ledger, again = replay(case)
        same = ledger == again
        print(f"ledger {ledger}\nreplay {again}\n{'the same' if same else 'not the same'} weights")
        return 0 if same else 1
    found = run(case)
    cost = found.utility
    print(
        f"utility: bound of {cost.n:,} held-out retained images {cost.increase:+.2%} "
        f"[{cost.low:+.2%}, {cost.high:+.2%}], budget {found.budget:.2%}"
    )
    if not found.published:
        print(
            f"over budget: nothing was published, and {case.base} stays. Give the request another "
            "method, fewer epochs or a larger budget, and plan it again"
        )
        return 1
    print(
        f"published: {found.published}\nweights: {found.checkpoint}\nnext: gsu-jax removal verify "
        f"{case.number}"
    )
    return 0


def _verify(options: argparse.Namespace) -> int:
    case = _case(options, options.number)
    keep_programs()
    found = verify_case(case, tier=options.tier, models=options.models, samples=options.samples)
    for line in found.lines:
        power = (
            "" if line.verdict == Verdict.NOT_RUN else f" (n {line.n:,}, power {line.power:.2f})"
        )
        print(f"{line.verdict:<15} {line.name}: {found.said[line.name]}{power}")
    print(f"verdict: {found.decides.verdict}, by {found.decides.name}")
    return 1 if found.decides.verdict == Verdict.FAILED else 0


def _report(options: argparse.Namespace) -> int:
    print(report(_case(options, options.number), with_pictures=options.with_pictures))
    return 0


def _release(options: argparse.Namespace) -> int:
    case = _case(options, options.number)
    path = release(case, although_failed=options.although_failed)
    print(f"current: {path}, in {case.home / 'current.json'}")
    return 0


def _undo(options: argparse.Namespace) -> int:
    case = _case(options, options.number)
    print(f"current: {undo(case, reason=options.reason)}, in {case.home / 'current.json'}")
    return 0


def _purge(options: argparse.Namespace) -> int:
    items = purge(_case(options, options.number), original=options.original)
    print(f"purged: {', '.join(items)}" if items else "nothing was left to purge")
    return 0


def _close(options: argparse.Namespace) -> int:
    case = _case(options, options.number)
    event = close(case, refused=options.refuse)
    print(f"{event.type}: the key of the request is destroyed\nreceipt: {event.hash}")
    print("remove the request file and the folder of images yourself: they are not kept here")
    return 0
