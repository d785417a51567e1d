"""What `plan` wrote down in `case.json`, held against the ledger."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gsu_jax.methods import Method, get_method
from gsu_jax.removal._events import Event, canonical
from gsu_jax.removal.service._files import Record, read_json

# Paths may move, and what is there has digests of its own.
NEEDED = ("checkpoint", "base", "data", "fingerprint", "model", "modules", "method", "what")
LEFT_OUT = ("checkpoint", "data", "modules")


def facts_digest(facts: Record) -> str:
    """The SHA-256 of the facts of a case but for paths, as the event `planned` has it."""
    kept = {name: value for name, value in facts.items() if name not in LEFT_OUT}
    return hashlib.sha256(canonical(kept)).hexdigest()


def method_of(facts: Record) -> Method:
    """The method of a plan, with the learning rate that the request names, if it does."""
    method = get_method(facts["method"])
    rate = facts.get("learning_rate")
    return method if rate is None else replace(method, learning_rate=rate)


def planned_facts(path: Path, events: Sequence[Event]) -> Record:
    """Returns the facts of a case, which must be those of its last plan.

    Raises:
        ValueError: The file cannot be read, or says something else than what was planned.
    """
    facts = read_json(path, *NEEDED)
    planned = [event.predicate for event in events if event.type == "planned"]
    digest = facts_digest(facts)
    if planned and planned[-1].get("facts", digest) != digest:
        raise ValueError(
            f"{path} was changed: its SHA-256 is {digest[:16]}..., and the ledger says "
            f"{planned[-1]['facts'][:16]}...; plan the request again, or restore it from a backup"
        )
    return facts
