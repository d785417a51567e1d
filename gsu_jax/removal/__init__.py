"""The record of removal requests: signed, append-only, and without personal data.

    ledger = Ledger("removals.sqlite", "faces")
    ledger.append("received", "2026-014", load_key("keys", "operator"), {"claim": "rows"})
    verify(ledger, load_public_keys("keys"))        # [] if it is whole

The extra `removal` has what it needs.
"""

# ruff: noqa: E402
from gsu_jax.checks import import_extra

for _module, _package in {
    "rfc8785": "rfc8785",
    "securesystemslib.dsse": "securesystemslib[crypto]",
    "cryptography": "securesystemslib[crypto]",
    "sqlalchemy": "SQLAlchemy",
}.items():
    import_extra(_module, _package, "gsu_jax.removal", extra="removal")

from gsu_jax.removal._commitments import CommitmentKey, RequestKeys
from gsu_jax.removal._database import LedgerError
from gsu_jax.removal._digest import digest, weights_digest
from gsu_jax.removal._events import EVENTS, Event, EventType
from gsu_jax.removal._exclusion_file import read_exclusions, write_exclusions
from gsu_jax.removal._ledger import Ledger
from gsu_jax.removal._request_file import RemovalRequest, Training, read_request
from gsu_jax.removal._signing import (
    PublicKeys,
    RoleKey,
    init_keys,
    load_key,
    load_public_keys,
)
from gsu_jax.removal._statements import provenance, removal_record, verification
from gsu_jax.removal._verify import clock_notes, verify

__all__ = [
    "EVENTS",
    "CommitmentKey",
    "Event",
    "EventType",
    "Ledger",
    "LedgerError",
    "PublicKeys",
    "RemovalRequest",
    "RequestKeys",
    "RoleKey",
    "Training",
    "clock_notes",
    "digest",
    "init_keys",
    "load_key",
    "load_public_keys",
    "provenance",
    "read_exclusions",
    "read_request",
    "removal_record",
    "verification",
    "verify",
    "weights_digest",
    "write_exclusions",
]
