"""The lines of `gsu-jax removal series`."""

import math

from gsu_jax.removal.service import Series


def series_lines(found: Series, number: str) -> list[str]:
    """Returns the matrices, the resurgence, the drift, the union and the recommendation."""
    width = max(9, *map(len, found.requests)) + 2
    head = "".join(f"{i + 1:>8}" for i in range(len(found.requests)))
    lines = [
        f"series up to {number}: what is left of a request (row) after a step (column)",
        f"1: as in the original; 0 of the evidence: as {found.zero}",
    ]
    for measure, matrix in found.left.items():
        rows = [
            f"{request:<{width}}" + "".join(_number(value) for value in row)
            for request, row in zip(found.requests, matrix, strict=True)
        ]
        if any(math.isfinite(value) for value in matrix.flat):
            lines += [f"{measure:<{width}}{head}", *rows]
    lines += [f"not measured: {request}: {why}" for request, why in found.silent.items()]
    drift = "".join(_share(each["increase"] if each else None) for each in found.drift)
    lines.append(f"{'drift':<{width}}{drift}")
    rises = {request: rise for request, rise in found.resurgence.items() if rise > 0}
    most = max(rises, key=lambda request: rises[request], default="")
    said = f"{rises[most]:.2f}, of request {most}" if most else "none"
    lines.append(f"resurgence: {said}")
    if found.union is not None:
        lines += _union_lines(found.union)
    return [*lines, f"recommended: {found.recommendation}"]


def _union_lines(union: dict) -> list[str]:
    if union["says"]:
        return [f"union {union['request']}: {union['says']}"]
    lines = [f"union {union['request']}, from the original checkpoint, not released:"]
    for measure, left in union["left"].items():
        known = [value for value in left.values() if value is not None]
        most = f"at most {max(known):.2f} of a request" if known else "cannot be told"
        lines.append(f"  {measure}: {most} is left" if known else f"  {measure}: {most}")
    drift = union["drift"]["increase"] if union["drift"] else None
    return [*lines, f"  drift {_share(drift).strip()}"]


def _number(value: float) -> str:
    return f"{value:>8.2f}" if math.isfinite(value) else f"{'':>8}"


def _share(value: float | None) -> str:
    return f"{'?':>8}" if value is None else f"{value:>+8.1%}"
