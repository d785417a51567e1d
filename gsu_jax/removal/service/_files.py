"""Small JSON files of a case."""

import json
from pathlib import Path
from typing import Any

from gsu_jax.checks import listing
from gsu_jax.storage import write_whole

Record = dict[str, Any]
ADVICE = {
    "current.json": "move it away, and release the last request once more",
    "purging.json": "remove it, and purge once more",
    "verification.json": "verify the request once more",
    "series.json": "measure the series once more",
}


def read_json(path: Path, *names: str) -> Record:
    """Returns what a file of a case holds, which must have these names."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = {*names} - {*record} if isinstance(record, dict) else names
        if missing or not isinstance(record, dict):
            raise ValueError(f"it has no {listing(sorted(missing)) or 'names'}")
        return record
    except (OSError, ValueError) as error:
        fix = ADVICE.get(path.name, "plan the request again, or restore it from a backup")
        raise ValueError(f"{path} cannot be read ({error}); {fix}") from error


def write_json(path: Path, record: Record, *, private: bool = False) -> None:
    """Writes a file of a case, whole or not at all; a `private` one for its owner alone."""
    write_whole(path, json.dumps(record, indent=1, allow_nan=False) + "\n", private=private)
