"""A folder keeps the options that its results depend on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gsu_jax.storage import write_whole

SETTINGS_FILE = "arguments.json"


def same_settings(out: Path, wanted: Mapping[str, Any]) -> None:
    """Writes the options down in a new folder, and refuses one that was begun with others.

    Args:
        out: The folder.
        wanted: Options by name, as JSON gives them back.

    Raises:
        ValueError: It was begun with another value; the message has both.
    """
    path = out / SETTINGS_FILE
    if not path.is_file():
        write_whole(path, json.dumps(wanted, indent=1) + "\n")
        return
    kept = json.loads(path.read_text("utf-8"))
    other = [
        f"--{name.replace('_', '-')} {kept.get(name)}, now {value}"
        for name, value in wanted.items()
        if kept.get(name) != value
    ]
    if other:
        raise ValueError(f"--out {out} was begun with {'; '.join(other)}: give another folder")
