"""`gsu-jax removal ledger ...`: the record of removal requests."""

import argparse
import json

from gsu_jax.cli._mistakes import Parser, report_mistake
from gsu_jax.removal import (
    EVENTS,
    Event,
    Ledger,
    clock_notes,
    init_keys,
    load_public_keys,
    verify,
)


def add_ledger(groups: argparse._SubParsersAction) -> None:
    """Adds the command `ledger`."""
    ledger = groups.add_parser("ledger", help="the record of removal requests")
    commands = ledger.add_subparsers(
        required=True, metavar="verify|show|init-keys", parser_class=Parser
    )
    where = {"metavar": "LEDGER", "help": "a file, or postgresql://USER@HOST/DATABASE"}

    check = commands.add_parser("verify", help="whether a ledger is whole")
    check.add_argument("ledger", **where)
    check.add_argument(
        "--keys", required=True, metavar="DIR", help="with operator*.pub and verifier*.pub"
    )
    check.add_argument("--project", metavar="NAME", help="that the ledger must belong to")
    check.add_argument("--head", metavar="HASH", help="of a receipt, which the ledger must hold")
    check.set_defaults(run=_verify)

    show = commands.add_parser("show", help="print the events of a ledger")
    show.add_argument("ledger", **where)
    show.add_argument("--request", metavar="NUMBER", help="whose events to print; by default all")
    show.add_argument("--json", action="store_true", help="print each in-toto statement, a line")
    show.set_defaults(run=_show)

    keys = commands.add_parser("init-keys", help="make the keys of operator and verifier")
    keys.add_argument("folder", metavar="DIR", help="where to write them")
    keys.set_defaults(run=_init_keys)


def _verify(options: argparse.Namespace) -> int:
    public_keys = load_public_keys(options.keys)
    ledger = Ledger(options.ledger)
    faults = verify(ledger, public_keys, project=options.project, head=options.head)
    for sentence in faults:
        print(printable(sentence))
    if faults:
        return 1
    events = ledger.events()
    requests = len({event.request for event in events})
    print(
        f"whole: {count(len(events), 'event')} of {count(requests, 'request')} of project "
        f"{ledger.project}\n"
        f"head: {ledger.head}"
    )
    for sentence in clock_notes(ledger):
        print(f"note: {sentence}")
    return 0


def _show(options: argparse.Namespace) -> int:
    ledger = Ledger(options.ledger)
    events = ledger.events(options.request)
    if options.request and not events:
        return report_mistake(f"--request {options.request}: the ledger has no such request")
    for event in events:
        print(_json(event) if options.json else _line(event))
    return 0


def _init_keys(options: argparse.Namespace) -> int:
    for path in init_keys(options.folder):
        print(path)
    return 0


def _line(event: Event) -> str:
    signer = EVENTS[event.type].signer if event.type in EVENTS else "?"
    words = (f"{event.seq:>4}", event.time[:19], f"{event.type:<10}", f"{signer:<8}")
    return printable("  ".join((*words, event.hash[:16], event.request)))


def _json(event: Event) -> str:
    try:
        return json.dumps(event.statement)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"event {event.seq} cannot be read; gsu-jax removal ledger verify says why"
        ) from error


def count(number: int, word: str) -> str:
    """Returns "1 event", "2 events"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """What somebody wrote into a ledger must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
