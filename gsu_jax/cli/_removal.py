"""`gsu-jax removal ...`: answer a removal request, and keep the record.

gsu-jax removal ledger init-keys removals/keys  the keys of operator and verifier
gsu-jax removal plan REQUEST.toml               what it will take
gsu-jax removal run NUMBER                      a new checkpoint beside the old one
gsu-jax removal verify NUMBER [--tier 0|1|2]    verdicts, signed by the verifier
gsu-jax removal report NUMBER                   a page without names
gsu-jax removal release NUMBER | undo NUMBER    which checkpoint is the current one
gsu-jax removal series [NUMBER] [--union]       what is left of each request after later ones
gsu-jax removal purge NUMBER, close NUMBER      what shows the images goes; the receipt
gsu-jax removal ledger verify|show LEDGER       the record

Exit codes: 0; 1 after a budget that was exceeded, a line that FAILED, or a ledger that is not
whole; 2 after a mistake, which changes nothing, or a fault such as a full disk, after which the
same command goes on.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from gsu_jax.cli._mistakes import Parser, report_mistake
from gsu_jax.cli._removal_ledger import add_ledger, printable


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
        code = options.run(options)
        sys.stdout.flush()  # at the end of the process a full disk would be a traceback
        return code
    except (ValueError, OSError, TypeError, MemoryError) as error:
        said = " ".join(str(error).split())
        if isinstance(error, OSError) and error.errno and not error.filename:  # of `print`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            said = f"standard output: {error.strerror}; what the command did stands"
        return report_mistake(printable(said))


def _parser() -> Parser:
    parser = Parser(
        prog="gsu-jax removal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups = parser.add_subparsers(
        required=True,
        metavar="plan|run|verify|report|release|undo|series|purge|close|ledger",
        parser_class=Parser,
    )

    def add(name: str, line: str) -> Parser:
        command = groups.add_parser(name, help=line, description=line)
        what = ("file", "REQUEST.toml") if name == "plan" else ("number", "NUMBER")
        if name == "series":
            newest = "the last request; by default that of the current checkpoint"
            command.add_argument("number", nargs="?", metavar="NUMBER", help=newest)
        else:
            command.add_argument(what[0], metavar=what[1], help="the request")
        command.add_argument("--folder", default="removals", metavar="DIR", help="of all requests")
        command.add_argument("--ledger", metavar="LEDGER", help="if not DIR/ledger.sqlite")
        command.add_argument("--keys", metavar="DIR", help="if not DIR/keys")
        if name != "report":  # which writes no event
            command.add_argument(
                "--although-clock-set-back",
                action="store_true",
                help="the clock is right, and the last event of the ledger is from one ahead of it",
            )
        command.set_defaults(run=_step(name))
        return command

    planning = add("plan", "what a request will take; no checkpoint changes")
    planning.add_argument("--project", metavar="NAME", help="begins a ledger of this name")
    planning.add_argument("--seed", type=int, default=0, help="of the run")
    planning.add_argument("--dry-run", action="store_true", help="write nothing at all")
    running = add("run", "unlearn, and publish the new checkpoint beside the old one")
    running.add_argument("--replay", action="store_true", help="repeat it, and compare the weights")
    verifying = add("verify", "test the new checkpoint; the verifier signs")
    verifying.add_argument(
        "--tier", type=int, default=0, help="1 retrains models, 2 trains shadow models too"
    )
    verifying.add_argument("--models", type=int, default=10, help="of each kind, at tier 1")
    verifying.add_argument("--shadows", type=int, default=32, help="an even number, at tier 2")
    verifying.add_argument("--samples", type=int, default=10_000, help="of a model")
    reporting = add("report", "write report.html and report.json, which name no image")
    reporting.add_argument("--with-pictures", action="store_true", help="show the images as well")
    releasing = add("release", "make the new checkpoint the current one")
    releasing.add_argument("--although-failed", action="store_true", help="despite a FAILED line")
    undoing = add("undo", "make the old checkpoint the current one again")
    undoing.add_argument("--reason", default="the operator undid it", help="which names nobody")
    again = add("series", "measure earlier requests again, after each step")
    again.add_argument("--models", type=int, default=0, help="retrained, at each step")
    again.add_argument("--samples", type=int, default=10_000, help="of a model")
    again.add_argument(
        "--union", action="store_true", help="unlearn all from the original checkpoint too"
    )
    purging = add("purge", "remove pictures, lists, caches and models of a request")
    purging.add_argument("--original", action="store_true", help="the old checkpoint too")
    closing = add("close", "purge, destroy the key of the request, print the receipt")
    closing.add_argument("--refuse", default="", metavar="REASON", help="which names nobody")
    add_ledger(groups)
    return parser


def _step(name: str) -> Callable[[argparse.Namespace], int]:
    """The function of a command, imported when it runs: the ledger needs less than they do."""

    def run(options: argparse.Namespace) -> int:
        return getattr(import_module("gsu_jax.cli._removal_steps"), f"{name}_step")(options)

    return run
