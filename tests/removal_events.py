"""A request from its receipt to its end, for the tests of the ledger."""

import json
import os
import subprocess
import sys

import tiny_study

from gsu_jax.removal import (
    Ledger,
    RequestKeys,
    init_keys,
    load_key,
    load_public_keys,
    provenance,
    removal_record,
    verification,
    verify,
)
from gsu_jax.removal._ledger import OF_A_CHECKPOINT

CHECKPOINT = "a" * 64
IDS = ["Bag/1898.png", "Coat/77.png"]
PREDICATES = {
    "received": {"claim": "rows", "what": "ids", "deadline": "2026-12-30"},
    "identified": {"count": 2},
    "planned": {"method": "redirect_flow", "reasons": "retraining takes a week"},
    "ran": provenance(
        base="b" * 64,
        data="d" * 64,
        method="redirect_flow",
        settings={"seed": 0, "learning_rate": 1e-3},
        environment={"jax": "0.10.0"},
        started="2026-11-30T09:00:00Z",
        finished="2026-11-30T09:00:08Z",
    ),
    "verified": verification({"V2": "PASSED", "V6": "NOT RUN"}, configuration="c" * 64),
    "released": {"replaces": "b" * 64},
    "notified": {"recipients": 3},
    "purged": {"items": ["optimizer state", "pictures"]},
    "closed": removal_record(
        claim="rows",
        outcome="unlearned",
        scope="2 training images",
        not_covered=["copies of the weights"],
        residual_risk="membership was not attacked",
    ),
}


class Office:
    """A ledger with all keys, in a folder."""

    def __init__(self, folder, project="faces", location=None):
        init_keys(folder / "keys")
        self.folder = folder
        self.keys = RequestKeys(folder / "secrets")
        self.location = location or folder / "removals.sqlite"
        self.ledger = Ledger(self.location, project)
        self.public_keys = load_public_keys(folder / "keys")
        self.operator = load_key(folder / "keys", "operator")
        self.verifier = load_key(folder / "keys", "verifier")

    @classmethod
    def with_two_requests(cls, folder):
        """One request has ended, and another is open."""
        office = cls(folder)
        office.whole_request()
        office.append("received", "2026-015")
        return office

    def append(self, type, request="2026-014", predicate=None, **given):
        key = self.verifier if type in ("verified", "remeasured") else self.operator
        if type in OF_A_CHECKPOINT:
            given.setdefault("checkpoint", CHECKPOINT)
        if type in ("closed", "refused"):
            given.setdefault("keys", self.keys)
        return self.ledger.append(type, request, key, predicate or PREDICATES.get(type), **given)

    def whole_request(self, request="2026-014"):
        commitments = self.keys.create(request).commit(IDS)
        for type, predicate in PREDICATES.items():
            if type == "identified":
                predicate = {**predicate, "commitments": commitments}
            self.append(type, request, predicate)
        return commitments


def memory_folder():
    """A folder in memory, or None."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def run_writers(location, folder, writers, kills=0, events=0):
    """What `ledger_writers` says: the status of each writer, and the acknowledged events."""
    program = str(tiny_study.ROOT / "tests" / "ledger_writers.py")
    words = [str(location), str(folder), str(writers), str(kills), str(events)]
    done = subprocess.run(
        [sys.executable, program, *words],
        capture_output=True,
        text=True,
        env=tiny_study.ENVIRONMENT,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    return said["codes"], [tuple(json.loads(line)) for line in said["acknowledged"]]


def check_nothing_lost(ledger, public_keys, acknowledged):
    """The chain is whole and holds every acknowledged event; returns how many there are."""
    assert verify(ledger, public_keys) == []
    kept = {(event.seq, event.hash, event.request) for event in ledger.events()}
    assert kept >= set(acknowledged)
    assert len(set(acknowledged)) == len(acknowledged)
    return len(kept)
