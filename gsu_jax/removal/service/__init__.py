"""A removal request from its file to its receipt: plan, run, verify, release or undo, close.

    case = Case("removals", "2026-014", project="faces")
    plan(read_request("request.toml"), case)    # what it will take
    run(case)                                   # a new checkpoint beside the old one
    verify_case(case, tier=1)                   # verdicts, signed by the verifier
    release(case)                               # or undo(case)
    close(case)                                 # purged, its key destroyed

    series(case, union=True)                    # what is left of earlier requests by now

Each step is one event of the ledger, and may be killed and repeated. `gsu-jax removal` has them as
commands.
"""

from gsu_jax.removal.service._case import Case
from gsu_jax.removal.service._deadline import deadline_of
from gsu_jax.removal.service._end import close, purge, release, undo
from gsu_jax.removal.service._models import SharedModels, train_model
from gsu_jax.removal.service._plan import Plan, plan
from gsu_jax.removal.service._quote import Quote
from gsu_jax.removal.service._report import report
from gsu_jax.removal.service._run import Outcome, replay, run
from gsu_jax.removal.service._series import Series, left_of, newest, rise_of, series
from gsu_jax.removal.service._verify import Verification, verify_case

__all__ = [
    "Case",
    "Outcome",
    "Plan",
    "Quote",
    "Series",
    "SharedModels",
    "Verification",
    "close",
    "deadline_of",
    "left_of",
    "newest",
    "plan",
    "purge",
    "release",
    "replay",
    "report",
    "rise_of",
    "run",
    "series",
    "train_model",
    "undo",
    "verify_case",
]
