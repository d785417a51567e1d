"""The lines of a verification: what each tests, and for which claims."""

from collections.abc import Callable
from typing import NamedTuple

from gsu_jax.audit import shared_level
from gsu_jax.removal.service._case import Case
from gsu_jax.removal.service._held_against import held_against
from gsu_jax.removal.service._measures import Said
from gsu_jax.removal.service._resurgence import no_resurgence
from gsu_jax.removal.service._subject import Subject
from gsu_jax.removal.service._tier0 import (
    copies,
    drawn_share,
    export,
    kept_utility,
    lineage,
    weights,
)
from gsu_jax.removal.service._tier1 import equivalence, relative, relearning
from gsu_jax.removal.service._tier2 import epsilon, membership

ROWS, CLASS, CONCEPT = "rows", "class", "concept"
ALL = (ROWS, CLASS, CONCEPT)


class Test(NamedTuple):
    """A line before it is run.

    Attributes:
        name: Of the line.
        tier: 0 needs no other model, 1 retrained ones, 2 shadow models.
        claims: For which it is evidence.
        asks: What it shows if it passes.
        run: Returns the line and one sentence with its numbers.
    """

    name: str
    tier: int
    claims: tuple[str, ...]
    asks: str
    run: Callable[[Subject], Said]


TESTS = (
    Test("V0 lineage", 0, ALL, "weights, data and list are those of the ledger", lineage),
    Test("V1 utility", 0, ALL, "retained images are described as before", kept_utility),
    Test(
        "V2 share", 0, (CLASS, CONCEPT), "it is drawn a tenth as often, or as if retrained",
        drawn_share,
    ),
    Test("V11 export", 0, (CLASS, CONCEPT), "nor after int8, pruning or noise", export),
    Test("V12 copies", 0, (ROWS, CLASS), "no samples copy the images", copies),
    Test("V13 weights", 0, ALL, "the change shows no more images than retraining", weights),
    *(
        Test(name, 1, claims, asks, held_against(name))
        for name, claims, asks in (
            ("V2 share, retrained", (CLASS, CONCEPT), "draws it no more than a retrained model"),
            ("V3 evidence", (ROWS, CLASS), "describes the images as a retrained model does"),
            ("V4 rows", (ROWS,), "no single image stands out"),
            ("V5 set", (ROWS,), "knows the images no better than unseen ones"),
            ("V10 recovery", (ROWS, CLASS), "a search finds latents as for a retrained model"),
        )
    ),
    Test("V3 equivalence", 1, (ROWS, CLASS), "the method equals retraining", equivalence),
    Test("V11 relearning", 1, (ROWS, CLASS), "learns them again no sooner or later", relearning),
    Test(
        "V11 further training", 1, (CLASS, CONCEPT), "does not come back with further training",
        held_against("V11 further training"),
    ),
    Test("V14 relative", 1, (CLASS,), "samples are nearer to retraining", relative),
    Test("V6 membership", 2, (ROWS,), "no attack tells members from others", membership),
    Test("V7 epsilon", 2, (ROWS,), "a bound of what any attack could tell", epsilon),
)  # fmt: skip
SERIES = Test(
    "V15 series", 0, ALL, "what earlier requests removed does not come back", no_resurgence
)


def lines_of(case: Case) -> list[Test]:
    """The lines of a case: those of its claim, and one more if other requests went before."""
    own = [test for test in TESTS if case.facts["claim"] in test.claims]
    return [*own, SERIES] if case.earlier else own


def level_of(claim: str, tier: int) -> float:
    """The level of each line of tier 1 and above: together a retrained model fails 5 % of times."""
    own = [test for test in TESTS if claim in test.claims and 0 < test.tier <= tier]
    return shared_level(max(1, len(own)))
