"""The rows of results as comma-separated values."""

import csv
import io
from collections.abc import Mapping
from typing import Any


def csv_table(results: Mapping[str, Any]) -> str:
    """Formats every row of the results as one line, below a line of names.

    Args:
        results: As in results.json.

    Returns:
        Comma-separated values as in RFC 4180, with lines that end in a newline alone. A missing
        value is empty, so that `pandas.read_csv` gives NaN.

    Example:
        >>> rows = [{"method": "retrain", "seed": 0, "fid": 30.5, "diverged": False}]
        >>> print(csv_table({"rows": rows}), end="")
        method,seed,fid,diverged
        retrain,0,30.5,False
    """
    names = list(dict.fromkeys(name for row in results["rows"] for name in row))
    written = io.StringIO()
    writer = csv.DictWriter(written, names, restval="", lineterminator="\n")
    if names:
        writer.writeheader()
    writer.writerows(results["rows"])
    return written.getvalue()
