"""The columns of every results table, and the marks for a place in the retrained ensemble."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gsu_jax.report._described import PHI, RHO

INSIDE, ABOVE, BELOW = "inside", "above", "below"
MARKS = {INSIDE: "●", ABOVE: "▲", BELOW: "▼", None: ""}


class Column(NamedTuple):
    """A metric as a column of a table.

    Attributes:
        metric: The key of the metric in the rows.
        name: The first words of the heading.
        images: The images it is measured on, the last word of the heading.
        better: "↓" if less is better, "↑" if more is; "" if only the retrained level is good.
    """

    metric: str
    name: str
    images: str = ""
    better: str = ""

    @property
    def title(self) -> str:
        """The heading without the arrow."""
        return f"{self.name} {self.images}".strip()

    @property
    def heading(self) -> str:
        """The heading with the arrow."""
        return f"{self.title} {self.better}".strip()


COLUMNS = (
    Column("fratio", "fratio", better="↓"),
    Column("inception_score", "IS"),
    Column("fid", "FID", "all data"),
    Column("fid_retain", "FID", "retained", "↓"),
    Column("nelbo_retain", "nelbo", "retained", "↓"),
    Column("nelbo_forget", "nelbo", "forgotten"),
    Column("coverage", "coverage", better="↑"),
    Column("seconds", "seconds", better="↓"),
)
# Only where rows have phi: results of earlier releases do not.
DESCRIBED = (Column(RHO, "rho", "forgotten"), Column("encoder_gap", "encoder gap"))
# Only where rows have a second judge.
SECOND_COLUMNS = (
    Column("fratio_second", "fratio", "2nd judge", "↓"),
    Column("fid_retain_second", "FID", "2nd judge", "↓"),
)
DISAGREE = "≠"  # beside a mean of the second judge, if the first says otherwise


def columns_of(results: Mapping[str, Any]) -> list[Column]:
    """Returns the columns of a study: `COLUMNS`, and before the costs the metrics of its own.

    Where listed images are forgotten, `nelbo_gap` stands in the place of fratio. Where a row has
    `phi_forget`, `DESCRIBED` stands beside the nelbo; where a second judge saw the samples,
    `SECOND_COLUMNS` stand beside the FID.
    """
    *metrics, seconds = COLUMNS
    if any(row.get(PHI) is not None for row in results["rows"]):
        after = [column.metric for column in metrics].index("nelbo_forget") + 1
        metrics[after:after] = DESCRIBED
    known = {name for row in results["rows"] for name, value in row.items() if value is not None}
    after = [column.metric for column in metrics].index("fid_retain") + 1
    metrics[after:after] = [column for column in SECOND_COLUMNS if column.metric in known]
    if any("nelbo_gap" in row for row in results["rows"]):
        metrics[0] = Column("nelbo_gap", "nelbo", "listed - like")
    return [*metrics, *(Column(name, name) for name in results.get("metrics", ())), seconds]
