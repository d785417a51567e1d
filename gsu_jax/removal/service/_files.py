"""Small JSON files of a case."""

import json
from pathlib import Path
from typing import Any

from gsu_jax.storage import write_whole

Record = dict[str, Any]
ADVICE = {
    "current.json": "move it away, and release the last request once more",
    "purging.json": "remove it, and purge once more",
    "verification.json": "verify the request once more",
    "series.json": "measure the series once more",
}


def read_json(path: Path) -> Record:
    """Returns what a file of a case holds."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fix = ADVICE.get(path.name, "plan the request again, or restore it from a backup")
        raise ValueError(f"{path} cannot be read ({error}); {fix}") from error


def write_json(path: Path, record: Record) -> None:
    """Writes a file of a case, whole or not at all."""
    write_whole(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
