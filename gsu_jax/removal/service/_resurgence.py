"""The line of later requests: whether what earlier ones removed has come back."""

import math

from scipy.special import ndtr, ndtri

from gsu_jax.audit import judge
from gsu_jax.removal.service._advice import MARGIN
from gsu_jax.removal.service._gauge import Gauge, column, removed
from gsu_jax.removal.service._measures import NotApplicable, Said
from gsu_jax.removal.service._subject import Subject


def no_resurgence(subject: Subject) -> Said:
    """How far earlier requests rose after their own step, as a share of what it removed.

    The differences of both checkpoints are paired over images, with the same noise. The worst
    request decides.
    """
    case = subject.case
    found = column(case, Gauge(case, subject.samples), subject.models)
    rises = []
    for owner in case.earlier:
        for row in found["rows"].get(owner.number, {}).values():
            gone = removed(row)
            if gone and None not in (row["error"], row["here"]):  # else nothing can come back
                rise = (row["here"] - row["own"]) / gone
                rises.append((rise, row["error"] / gone, row["n"], owner.number))
    if not rises:
        raise NotApplicable(
            "no earlier request can be measured, or none removed more than its error"
        )
    # All must be small to pass, and each could fail by chance: so the level of one is divided.
    z = ndtri(1 - 0.025 / len(rises))
    high = max(rise + ndtri(0.975) * error for rise, error, *_ in rises)
    low = max(rise - z * error for rise, error, *_ in rises)
    worst = max(rises)
    missed = sum(1 - ndtr(MARGIN / error - ndtri(0.975)) for _, error, *_ in rises if error)
    power = max(0.0, float(1 - missed))
    line = judge(
        "V15 series", worst[0], passed=high <= MARGIN, found=low > MARGIN, n=worst[2],
        power=power if math.isfinite(power) else 0.0, random="images and samples",
    )  # fmt: skip
    measured = len({number for *_, number in rises})
    return line, (
        f"request {worst[3]} rose by {worst[0]:.2f} of what its step removed, up to {high:.2f}, "
        f"allowed {MARGIN}; {measured} of {len(case.earlier)} earlier requests measured"
    )
