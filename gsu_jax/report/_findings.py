"""What tables show of a study: means, places in the retrained ensemble, best and worst."""

from collections.abc import Mapping
from typing import Any

from gsu_jax.metrics import LARGER_IS_BETTER, best, by_seed
from gsu_jax.report._columns import ABOVE, BELOW, COLUMNS, INSIDE, columns_of
from gsu_jax.report._comparison import compare
from gsu_jax.report._described import RHO, descriptions, interval_text, residual_shares
from gsu_jax.report._judges import SECOND, judge_verdicts
from gsu_jax.report._numbers import times
from gsu_jax.report._results import methods_of, roles_of, with_role
from gsu_jax.report._summary import summarize


class Findings:
    """The summary and the comparison of results, by method and metric.

    Attributes:
        rows: The rows of the results.
        columns: The columns of their tables.
        methods: The methods in the order of the rows.
        roles: The role of each method.
        yardstick: The method that is the retrained ensemble, or None.
        retrained: The number of retrained models, without diverged ones.
        means: (method, metric) -> the entry of `summarize`; for rho that of `residual_shares`.
        described: What rho says of each method that has one.
        judged: What both judges say of each method that both have seen.
        places: (method, metric) -> the entry of `compare`.
        best: Metric -> the unlearning method that is separately best, or None.
    """

    def __init__(self, results: Mapping[str, Any]):
        self.rows = results["rows"]
        self.columns = columns_of(results)
        self.methods = methods_of(self.rows)
        self.roles = roles_of(results)
        self.yardstick = with_role("yardstick", results)
        self.retrained = len(by_seed(self.rows, self.yardstick, "fid"))
        entries = [*summarize(self.rows), *residual_shares(results)]
        self.means = {(e["method"], e["metric"]): e for e in entries}
        self.described = descriptions(results)
        self.judged = judge_verdicts(results)
        self.places = {(e["method"], e["metric"]): e for e in compare(results)}
        candidates = [row for row in self.rows if self.roles[row["method"]] == "method"]
        self.best = {c.metric: best(candidates, c.metric) for c in COLUMNS if c.better}

    def mean(self, method: str, metric: str) -> dict | None:
        """Returns the summary of a metric if it has a mean."""
        entry = self.means.get((method, metric))
        return entry if entry and entry["mean"] is not None else None

    def diverged(self, method: str) -> int:
        """Returns the number of diverged seeds."""
        entry = self.means[method, "diverged"]
        return round(entry["mean"] * entry["n"])

    def seeds(self, method: str) -> str:
        """Returns the number of seeds and of diverged seeds: "5 (1 diverged)"."""
        lost = self.diverged(method)
        return f"{self.means[method, 'diverged']['n']}" + (f" ({lost} diverged)" if lost else "")

    def place(self, method: str, metric: str) -> str | None:
        """Returns the place of a mean in the 95 % prediction interval of the retrained models."""
        place = self.places.get((method, metric))
        if place is None or place["inside"] is None:
            return None
        if place["inside"]:
            return INSIDE
        mean = self.means[method, metric]["mean"]
        return ABOVE if mean > place["predicted_high"] else BELOW

    def ratio(self, method: str, metric: str) -> float | None:
        """Returns the mean over the mean of the retrained models."""
        return (self.places.get((method, metric)) or {}).get("ratio")

    def ratio_text(self, method: str, metric: str) -> str:
        """Returns the ratio as "1.04×", for seconds as "2 %" up to 999 %, or an empty string."""
        ratio = self.ratio(method, metric)
        if ratio is None:
            return ""
        percent = metric == "seconds" and ratio < 9.995
        return f"{100 * ratio:.3g} %" if percent else times(ratio)

    def share_text(self, method: str, metric: str) -> str:
        """Returns what follows a mean: the ratio of seconds, the interval of rho."""
        if metric == RHO:
            return interval_text(self.mean(method, metric))
        return self.ratio_text(method, metric) if metric == "seconds" else ""

    def disagree(self, method: str, metric: str) -> bool:
        """Returns whether the first judge says otherwise of a metric of the second."""
        first = next((own for own, second in SECOND.items() if second == metric), None)
        place = self.places.get((method, first)) if first else None
        return (
            bool(place) and self.roles[method] == "method" and not place.get("judges_agree", True)
        )

    def worst_bound(self, method: str) -> float | None:
        """Returns the largest binomial 95 % upper bound of fratio among the seeds."""
        return max(by_seed(self.rows, method, "fratio_upper95").values(), default=None)

    def worst_seed(self, method: str, metric: str) -> tuple[float, int] | None:
        """Returns the worst value and its seed, or None with fewer than two seeds."""
        values = by_seed(self.rows, method, metric)
        if len(values) < 2:
            return None
        seed = (min if metric in LARGER_IS_BETTER else max)(values, key=values.get)
        return values[seed], seed
