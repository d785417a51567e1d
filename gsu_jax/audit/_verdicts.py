"""What a line of an audit says, and which line decides."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

ENOUGH_POWER = 0.8


class Verdict(StrEnum):
    """Four answers, from the best to the worst."""

    PASSED = "PASSED"
    NOT_DETECTABLE = "NOT DETECTABLE"
    NOT_RUN = "NOT RUN"
    FAILED = "FAILED"


class Line(NamedTuple):
    """One line of an audit.

    Attributes:
        name: What was tested.
        statistic: What came out; NaN if it was not run.
        n: How many models or images it rests on.
        power: The chance to see the stated effect; a line without it is no evidence.
        random: What was random: "unlearning seeds", "base and unlearning seeds".
        verdict: The `Verdict`.
    """

    name: str
    statistic: float
    n: int
    power: float
    random: str
    verdict: Verdict


def judge(
    name: str, statistic: float, *, passed: bool, found: bool, n: int, power: float, random: str,
    must_show: bool = True,
) -> Line:  # fmt: skip
    """The line of a test.

    Something found is FAILED at any power. Otherwise a power below 0.8 is NOT DETECTABLE: nothing
    was found, and nothing could have been. Otherwise the line says whether the test passed.

    Args:
        name: What was tested.
        statistic: What came out.
        passed: Whether the test shows what it should.
        found: Whether it shows the contrary.
        n: How many models or images it rests on.
        power: The chance to see the stated effect, in [0, 1].
        random: What was random.
        must_show: Whether a test of enough power that neither passed nor found something is FAILED.
            A test of equality shows neither in 1 - power of the cases where there is equality: with
            False it is NOT DETECTABLE then.

    Returns:
        A `Line`.

    Raises:
        ValueError: The power is not in [0, 1], or a test both passed and found something.

    Example:
        >>> line = judge("copies", 0.3, passed=True, found=False, n=8, power=0.4, random="samples")
        >>> print(line.verdict)
        NOT DETECTABLE
    """
    if not 0 <= power <= 1:
        raise ValueError(f"power must be in [0, 1], got {power}")
    if passed and found:
        raise ValueError(f"{name}: a test cannot both pass and find something")
    enough = power >= ENOUGH_POWER
    if found or (enough and must_show and not passed):
        verdict = Verdict.FAILED
    else:
        verdict = Verdict.PASSED if enough and passed else Verdict.NOT_DETECTABLE
    return Line(name, float(statistic), int(n), float(power), random, verdict)


def not_run(name: str, random: str = "") -> Line:
    """The line of a test that was not run.

    Example:
        >>> print(not_run("membership").verdict)
        NOT RUN
    """
    return Line(name, float("nan"), 0, 0.0, random, Verdict.NOT_RUN)


def worst(lines: Sequence[Line]) -> Line:
    """The line that decides: the first of the worst verdict.

    From bad to good: FAILED, NOT RUN, NOT DETECTABLE, PASSED. So an audit passes only if every line
    was run, could have seen the effect, and saw none.

    Raises:
        ValueError: There are no lines.

    Example:
        >>> good = judge("share", 0.0, passed=True, found=False, n=9, power=0.9, random="seeds")
        >>> worst([good, not_run("membership"), good]).name
        'membership'
    """
    if not lines:
        raise ValueError("lines is empty; an audit without lines has no verdict")
    order = list(Verdict)
    return max(lines, key=lambda line: order.index(line.verdict))
