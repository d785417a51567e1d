"""Whether to go on in series, to take all requests together, or to retrain; and why."""

import math
from typing import NamedTuple

MARGIN = 0.2  # of what a step removed: more must not come back
ALIKE = 0.05  # of what was to be removed: less is no difference
TOO_MUCH = 0.5


class Standing(NamedTuple):
    """How a way to answer all requests stands.

    Attributes:
        left: The most that is left of any request, an entry of F.
        drift: By which share the bound of held-out retained images got worse since the original.
        rise: The largest resurgence.
    """

    left: float
    drift: float
    rise: float


def advise(series: Standing, union: Standing | None, why: str) -> str:
    """Returns one sentence: what to do, and its reason.

    What is left counts first, by more than 0.05; then the drift. Retraining is advised when the
    drift budget is spent, or more than half of a request is left either way.

    Args:
        series: Of the checkpoints one after the other.
        union: Of all requests at once; None if it was not measured.
        why: "the drift budget is spent", or why the union was not measured; or empty.

    Example:
        >>> advise(Standing(0.4, 0.03, 0.3), Standing(0.1, 0.02, 0.0), "")
        'release the union: it leaves at most 0.10 of a request, and the series 0.40'
    """
    if why.startswith("the drift budget"):
        return f"retrain without all of them: {why}"
    if union is None:
        return _without_union(series, why)
    if math.isnan(series.left) or math.isnan(union.left):
        return "nothing can be recommended: too little is measured to compare the two"
    both = f"at most {union.left:.2f} of a request, and the series {series.left:.2f}"
    if min(series.left, union.left) > TOO_MUCH:
        return f"retrain without all of them: the union leaves {both}"
    if union.left < series.left - ALIKE:
        return f"release the union: it leaves {both}"
    if union.left > series.left + ALIKE:
        return f"stay with the series: the union leaves {both}"
    drifts = f"by {union.drift:+.2%}, and the series by {series.drift:+.2%}"
    if union.drift < series.drift:
        return f"release the union: both leave the same, and it drifts {drifts}"
    return f"stay with the series: both leave the same, and the union drifts {drifts}"


def _without_union(series: Standing, why: str) -> str:
    if why:
        return f"stay with the series: {why}"
    if series.rise > MARGIN:
        return (
            f"compare with the union (--union): a request rose by {series.rise:.2f} after its own "
            f"step, more than {MARGIN}"
        )
    return f"go on in series: no request rose by more than {MARGIN} after its own step"
