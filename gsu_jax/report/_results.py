"""Writes and reads `results.json`, and finds the role of each method."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gsu_jax.storage import write_whole

SCHEMA = 1
# The roles of methods that are not unlearning methods, for results that record no role.
ROLES = {"before": "baseline", "retrain": "yardstick"}


def methods_of(rows: Sequence[dict]) -> list[str]:
    """Returns the methods in the order of their first row."""
    return list(dict.fromkeys(row["method"] for row in rows))


def roles_of(results: Mapping[str, Any]) -> dict[str, str]:
    """Returns the role of each method: "baseline", "yardstick" or "method"."""
    recorded = results.get("roles") or {}
    records = (results.get("config") or {}).get("methods") or {}
    roles = {}
    for method in methods_of(results["rows"]):
        name = (records.get(method) or {}).get("name", method)
        roles[method] = recorded.get(method) or ROLES.get(name, "method")
    return roles


def with_role(role: str, results: Mapping[str, Any]) -> str | None:
    """Returns the first method that has `role`, or None."""
    return next((method for method, own in roles_of(results).items() if own == role), None)


def write_results(path: str | os.PathLike, results: dict) -> None:
    """Writes `results` atomically as strict JSON; NaN and infinity become null.

    Args:
        path: The file.
        results: {"schema", "experiment", "rows", ...}.

    Raises:
        ValueError: `results` does not follow the schema.
        TypeError: JSON has no type for a value; the error names its place.
        OSError: The file cannot be written. An older file is left unchanged.
    """
    _check(results, "results")
    text = json.dumps(_plain(results, "results"), indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(path, text + "\n")


def read_results(path: str | os.PathLike) -> dict:
    """Reads a file of `write_results`.

    Args:
        path: The file.

    Returns:
        The results.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not JSON, not from this library, or of another schema.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "results.json"
        >>> rows = [{"method": "retrain", "seed": 0, "fid": float("nan"), "diverged": False}]
        >>> write_results(path, {"schema": 1, "experiment": "digits", "rows": rows})
        >>> read_results(path)["rows"][0]["fid"] is None
        True
    """
    path = Path(path)
    try:
        results = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(
            f"{path} is not a complete results.json ({error}). Delete it to create it again"
        ) from error
    _check(results, str(path))
    return results


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check(results: Any, where: str) -> None:
    fix = "Delete it to create it again, or give another --out"
    if not isinstance(results, dict) or "schema" not in results:
        raise ValueError(f"{where} is not a results.json of gsu_jax: it has no 'schema'. {fix}")
    if results["schema"] != SCHEMA:
        raise ValueError(f"{where}: schema must be {SCHEMA}, got {results['schema']!r}. {fix}")
    if not isinstance(results.get("experiment"), str):
        raise ValueError(f"{where} has no 'experiment' (its name). {fix}")
    rows = results.get("rows")
    if not isinstance(rows, list):
        raise ValueError(f"{where} has no list 'rows'. {fix}")
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("method"), str):
            raise ValueError(f"{where}: rows[{i}] has no 'method'. {fix}")


def _plain(value: Any, where: str) -> Any:
    """Converts NumPy scalars and arrays, tuples and paths to JSON's types."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _plain(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), where)
    raise TypeError(f"{where} is a {type(value).__name__}, which JSON cannot hold")
