"""The tables of report.html as data for its template."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gsu_jax.metrics import LARGER_IS_BETTER, by_seed, prediction_interval
from gsu_jax.report._columns import ABOVE, BELOW, COLUMNS, DISAGREE, INSIDE, SECOND_COLUMNS, Column
from gsu_jax.report._comparison import COSTS, RIVALS
from gsu_jax.report._described import AS_RETRAINED, OPEN, RHO, verdict_of
from gsu_jax.report._findings import Findings
from gsu_jax.report._judges import SECOND
from gsu_jax.report._numbers import NONE, mean_and_deviation, number, plus_minus

# Metrics for which a value on the better side of the retrained models is as good as theirs.
ONE_SIDED = tuple(c.metric for c in COLUMNS if c.better and c.metric not in COSTS)
NEAR = 1.1  # the largest ratio of a value that is near the retrained models, but outside
PAIRED = tuple(c for c in COLUMNS if c.metric in ("fratio", "fid_retain", "nelbo_retain"))


class Cell(NamedTuple):
    """A mean with what stands beside and below it."""

    mean: str
    deviation: str = ""
    place: str | None = None
    best: bool = False
    grade: str = ""
    notes: tuple[str, ...] = ()
    worst: tuple[str, int] | None = None


def main_columns(found: Findings) -> list[Column]:
    """Returns the columns of the main table: the second judge stands in the cells of the first."""
    return [column for column in found.columns if column not in SECOND_COLUMNS]


def main_cell(found: Findings, method: str, metric: str) -> Cell:
    """Returns a mean with its place in the ensemble, ratio or bound, and worst seed."""
    mean, deviation = mean_and_deviation(found.mean(method, metric))
    if mean == NONE:
        lost = metric == found.columns[0].metric and found.diverged(method)
        return Cell("diverged" if lost else NONE, grade="none")
    worst = found.worst_seed(method, metric)
    return Cell(
        mean,
        deviation,
        found.place(method, metric),
        method == found.best.get(metric),
        _grade(found, method, metric),
        tuple(
            filter(None, [_note(found, method, metric), _of_second_judge(found, method, metric)])
        ),
        (number(worst[0]), worst[1]) if worst and metric in ONE_SIDED else None,
    )


def paired_table(found: Findings) -> dict[str, Any] | None:
    """Returns the differences from the paper's methods, or None without any."""
    tests = {
        (method, rival, column.metric): test
        for method in found.methods
        if found.roles[method] == "method"
        for rival in RIVALS
        for column in PAIRED
        if (test := (found.places.get((method, column.metric)) or {}).get(rival))
    }
    rivals = [rival for rival in RIVALS if any(key[1] == rival for key in tests)]
    rows = [
        (method, [[_pair(tests.get((method, r, c.metric))) for c in PAIRED] for r in rivals])
        for method in found.methods
        if any(key[0] == method for key in tests)
    ]
    return {"rivals": rivals, "columns": PAIRED, "rows": rows} if rows else None


def cost_table(found: Findings) -> list[dict[str, Any]]:
    """Returns the cost of each method: seconds, share of a retraining, steps, compilation."""
    rows = []
    for method in found.methods:
        seconds, steps, compilation = (
            found.mean(method, metric) for metric in ("seconds", "steps", "compile_seconds")
        )
        if seconds is None:
            continue
        count = steps["mean"] if steps else 0
        rows.append(
            {
                "method": method,
                "seconds": plus_minus(seconds),
                "share": found.ratio_text(method, "seconds") or NONE,
                "bar": min(100 * (found.ratio(method, "seconds") or 0), 100),
                "steps": f"{count:,.0f}" if steps else NONE,
                "each": number(1000 * seconds["mean"] / count) if count else NONE,
                "compilation": plus_minus(compilation),
            }
        )
    return rows


def published_table(
    found: Findings, published: Mapping[str, Mapping[str, str]]
) -> tuple[list[str], list[tuple[str, list[tuple[str, str]]]]]:
    """Returns titles, and for each method the published values beside the measured ones."""
    metrics = list(dict.fromkeys(metric for values in published.values() for metric in values))
    titles = {column.metric: column.title for column in COLUMNS}
    rows = [
        (method, [(values.get(m, NONE), plus_minus(found.mean(method, m))) for m in metrics])
        for method, values in published.items()
    ]
    return [titles.get(m, m.replace("_", " ")) for m in metrics], rows


def seeds_table(found: Findings) -> tuple[list[str], list[tuple[bool, list[str]]]]:
    """Returns headings, and every row: whether it diverged, and its cells."""
    names = list(dict.fromkeys(name for row in found.rows for name in row))
    rows = [(bool(r.get("diverged")), [_plain(r.get(name)) for name in names]) for r in found.rows]
    return [name.replace("_", " ") for name in names], rows


def _note(found: Findings, method: str, metric: str) -> str:
    if method == found.yardstick:
        values = [*by_seed(found.rows, method, metric).values()]
        if metric in COSTS or len(values) < 2:
            return ""
        low, high = prediction_interval(values)
        return f"{number(low, high)} to {number(high)}"
    if metric == "fratio":
        high = found.means[method, metric]["high"]
        return "" if high is None else f"mean ≤ {number(high)}"
    return found.share_text(method, metric) or found.ratio_text(method, metric)


def _of_second_judge(found: Findings, method: str, metric: str) -> str:
    """What the second judge says of the same samples: its mean and ratio, and ≠ or nothing."""
    second = SECOND.get(metric, "")
    mean = found.mean(method, second)
    if mean is None:
        return ""
    apart = DISAGREE if found.disagree(method, second) else ""
    figures = filter(None, [number(mean["mean"]), found.ratio_text(method, second)])
    return f"{apart} 2nd {', '.join(figures)}".strip()


def _grade(found: Findings, method: str, metric: str) -> str:
    """A color beside the mark: as retrained or better, near, or neither."""
    if metric == RHO:
        verdict = verdict_of(found.means[method, metric])
        return {AS_RETRAINED: "good", OPEN: ""}.get(verdict, "poor")
    place = found.place(method, metric)
    if place is None or found.roles[method] != "method":
        return ""
    better = ABOVE if metric in LARGER_IS_BETTER else BELOW
    if place == INSIDE or (metric in ONE_SIDED and place == better):
        return "good"
    if metric not in ONE_SIDED:
        return ""
    ratio = found.ratio(method, metric)
    return "fair" if ratio and max(ratio, 1 / ratio) <= NEAR else "poor"


def _pair(test: dict | None) -> dict[str, str] | None:
    if test is None:
        return None
    return {
        "difference": number(test["difference"]),
        "p": f"{test['p']:.3f}" if test["p"] < 0.1 else f"{test['p']:.2f}",
        "low": number(test["low"], test["difference"]),
        "high": number(test["high"], test["difference"]),
    }


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return number(value)
    return NONE if value is None else str(value)
