"""The events of a removal request: their order, who signs each, and what it may say."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import rfc8785

from gsu_jax.checks import choice, unknown

ROLES = ("operator", "verifier")
ENDS = ("closed", "refused")
OF_A_RUN = ("ran", "verified", "released")  # steps about the new checkpoint
ABOUT_LAST_RUN = ("verified", "remeasured", "released")
STEPS = ("received", "identified", "planned", *OF_A_RUN, "undone", *ENDS)  # others change no state
CLAIMS = ("rows", "class", "concept")
KINDS = ("class", "attribute", "ids", "folder", "predicate")

OWN = "https://github.com/gsu-jax/gsu_jax"
EVENT = f"{OWN}/removal-event/v1"
RECORD = f"{OWN}/removal-record/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
LINK = "gsu_jax_event"  # the place in the chain, in every predicate
SET_BACK = "set back"  # what its "clock" says of an event that is earlier than the one before

REQUEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")


class EventType(NamedTuple):
    """What holds for all events of a type.

    Attributes:
        signer: The role whose key signs it.
        after: The event of the same request that must come first; "" for none.
        fields: What its predicate may say.
        predicate_type: The URI of the predicate.
        follows: The steps of the request of which one must be the last; none for any.
    """

    signer: str
    after: str
    fields: tuple[str, ...]
    predicate_type: str = EVENT
    follows: tuple[str, ...] = ()


EVENTS = {
    "received": EventType("operator", "", ("claim", "what", "commitments", "deadline")),
    "identified": EventType(
        "operator", "received", ("count", "commitments", "data"), follows=("received",)
    ),
    "planned": EventType(
        "operator",
        "identified",
        ("method", "settings", "reasons", "alternatives", "quote", "facts"),
        follows=("identified", "planned", "undone"),
    ),
    "ran": EventType(
        "operator", "planned", ("buildDefinition", "runDetails"), PROVENANCE, ("planned",)
    ),
    "verified": EventType(
        "verifier",
        "ran",
        ("result", "configuration", "passedTests", "warnedTests", "failedTests", "gsu_jax_lines"),
        TEST_RESULT,
        OF_A_RUN,
    ),
    "remeasured": EventType(
        "verifier",
        "ran",
        ("requests", "zero", "left", "resurgence", "drift", "silent", "union", "recommendation"),
        follows=OF_A_RUN,
    ),
    "released": EventType("operator", "verified", ("replaces", "channels"), follows=("verified",)),
    "undone": EventType("operator", "ran", ("reason",), follows=OF_A_RUN),
    "notified": EventType("operator", "released", ("recipients", "means")),
    "purged": EventType("operator", "received", ("items",)),
    "closed": EventType(
        "operator",
        "received",
        ("claim", "outcome", "scope", "notCovered", "residualRisk", "commitmentKey"),
        RECORD,
    ),
    "refused": EventType("operator", "received", ("reason", "commitmentKey")),
}


class Event(NamedTuple):
    """One row of a ledger, as it is stored.

    Attributes:
        seq: Its number, from 1.
        prev: The hash of the event before, 64 hexadecimal digits.
        hash: SHA-256 of `prev` (32 bytes) and the bytes of `envelope`.
        time: In UTC, to the microsecond.
        type: One of `EVENTS`.
        request: The number of the request, which names nobody.
        envelope: A DSSE envelope in RFC 8785 form, whose payload is an in-toto statement.
    """

    seq: int
    prev: str
    hash: str
    time: str
    type: str
    request: str
    envelope: str

    @property
    def statement(self) -> dict[str, Any]:
        """The in-toto statement; `verify` says whether it was signed."""
        return json.loads(base64.b64decode(json.loads(self.envelope)["payload"]))

    @property
    def predicate(self) -> dict[str, Any]:
        """What the event says, without its place in the chain."""
        said = self.statement["predicate"]
        return {name: value for name, value in said.items() if name != LINK}

    @property
    def weights(self) -> str:
        """The SHA-256 of the weights that it is about."""
        return self.statement["subject"][0]["digest"]["sha256"]

    @property
    def is_after_set_back(self) -> bool:
        """Whether it says that the clock was set back before it."""
        return self.statement["predicate"][LINK].get("clock") == SET_BACK


class History:
    """What the events of a request so far allow next.

    Args:
        request: Its number.
        events: In order.
    """

    def __init__(self, request: str, events: Iterable[Event] = ()):
        self.request = request
        self.types: set[str] = set()
        self.step = ""  # the last one
        self.weights: str | None = None  # of the last run
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Takes an event as the next one."""
        self.types.add(event.type)
        if event.type in STEPS:
            self.step = event.type
        if event.type == "ran":
            self.weights = event.weights

    def refusal(self, type: str, weights: str | None = None) -> str:
        """Returns why no event of `type` about `weights` may follow, or an empty string."""
        name = f"request {self.request}"
        if self.step in ENDS:
            return f"{name} is {self.step}: nothing may follow; open another request"
        if type == "received" and self.types:
            return f"{name} was received before; give it another number"
        after, follows = EVENTS[type].after, EVENTS[type].follows
        if after and after not in self.types:
            return f"{type} comes after {after}, which {name} has not"
        if follows and self.step not in follows:
            return (
                f"{type} comes right after {' or '.join(follows)}, and the last step of {name} is "
                f"{self.step}: if another operator took it, go on from there, or undo it"
            )
        if type in ABOUT_LAST_RUN and weights != self.weights:
            return f"{type} is about other weights than the last run of {name}"
        return ""


def canonical(value: Any) -> bytes:
    """Returns the RFC 8785 bytes of `value`: one form for equal JSON.

    Raises:
        ValueError: It is no JSON, or has a number that JSON cannot hold.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, TypeError, AttributeError) as error:
        raise ValueError(f"predicate must fit JSON with finite numbers: {error}") from error


def chain_hash(prev: str, envelope: bytes) -> str:
    """Returns SHA-256(prev || envelope), as hexadecimal digits."""
    return hashlib.sha256(bytes.fromhex(prev) + envelope).hexdigest()


def first_prev(project: str) -> str:
    """Returns what stands for the hash before the first event: it depends on the project."""
    return hashlib.sha256(canonical({"ledger": OWN, "project": project})).hexdigest()


def check_type(type: str, request: str) -> EventType:
    """Returns what holds for `type`, or raises ValueError for an unknown type or a bad number."""
    choice(EVENTS, type=type)
    if not isinstance(request, str) or not REQUEST.fullmatch(request):
        raise ValueError(
            "request must be a number or code of at most 64 letters, digits and ._- that names "
            f"nobody, got {request!r}"
        )
    return EVENTS[type]


def check_predicate(type: str, predicate: Mapping[str, Any]) -> None:
    """Raises ValueError for a field that `type` has not, or one that might name somebody."""
    fields = EVENTS[type].fields
    for name in predicate:
        if name not in fields:
            advice = ""
            if name in ("id", "ids", "images", "names", "files", "indices", "classes"):
                advice = "; ids enter the ledger as commitments alone"
            error = unknown("predicate", f"field of {type}", name, fields)
            raise ValueError(f"{error}{advice}")
    # The kind alone: the name of a class may be that of a person.
    for name, words in (("claim", CLAIMS), ("what", KINDS)):
        if name in predicate:
            choice(words, **{name: predicate[name]})
    commitments = predicate.get("commitments", [])
    if not isinstance(commitments, list):
        raise ValueError(f"commitments must be a list, got {commitments!r}")
    wrong = [c for c in commitments if not isinstance(c, str) or not DIGEST.fullmatch(c)]
    if wrong:
        raise ValueError(
            "commitments must be 64 hexadecimal digits each, as CommitmentKey.commit returns them; "
            f"{len(wrong)} of {len(commitments)} are not"
        )


def check_digest(**values: Any) -> None:
    """Raises ValueError for a value that is no SHA-256 in hexadecimal digits."""
    for name, value in values.items():
        if not isinstance(value, str) or not DIGEST.fullmatch(value):
            raise ValueError(f"{name} must be a SHA-256 of 64 hexadecimal digits, got {value!r}")
