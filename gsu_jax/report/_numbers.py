"""Formats numbers for tables."""

import math

NONE = "–"


def number(value: float | None, like: float | None = None) -> str:
    """Formats a number with about three significant digits; `like` sets the decimals if given."""
    if value is None or not math.isfinite(value):
        return NONE
    size = abs(value if like is None else like)
    if max(size, abs(value)) >= 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    digits = (3 if size >= 0.01 else 2) - math.ceil(math.log10(size)) if size else 3
    return f"{value:.{min(max(digits, 1), 5)}f}"


def times(ratio: float) -> str:
    """Formats a ratio: "1.04×", "125×"."""
    if ratio < 100:
        return f"{ratio:.2f}×"
    return f"{ratio:.0f}×" if ratio < 1e4 else f"{number(ratio, 1e5)}×"


def mean_and_deviation(entry: dict | None) -> tuple[str, str]:
    """Formats an entry of a summary: ("0.153", "0.057"); no deviation for one seed."""
    if entry is None or entry["mean"] is None:
        return NONE, ""
    deviation = "" if entry["std"] is None else number(entry["std"], entry["mean"])
    return number(entry["mean"]), deviation


def plus_minus(entry: dict | None) -> str:
    """Formats an entry of a summary: "0.153 ± 0.057"."""
    mean, deviation = mean_and_deviation(entry)
    return f"{mean} ± {deviation}" if deviation else mean
