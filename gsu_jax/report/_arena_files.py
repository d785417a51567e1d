"""The files of an arena: `arena.json`, `arena.md`, `arena.csv` and `front.png`."""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gsu_jax.report._arena_front import arena_front
from gsu_jax.report._arena_standing import arena_standing
from gsu_jax.report._arena_tables import arena_csv, arena_markdown
from gsu_jax.report._figures import drawing
from gsu_jax.storage import write_whole


def write_arena_files(
    folder: str | os.PathLike, chosen: Mapping[str, Any], closed: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Ranks the methods of an arena and writes arena.json, arena.md, arena.csv and front.png.

    Args:
        folder: Of the arena.
        chosen: The content of chosen.json.
        closed: Closed request -> the content of its results.json.

    Returns:
        The content of arena.json: {"schema", "experiment", "environment", "objective", "aims",
        "tuning", "trials"} and that of `arena_standing`, whose methods also have "settings",
        "trial", "tuning_objective" and "default_objective".

    Raises:
        ValueError: As `arena_standing`.
        OSError: A file cannot be written.
    """
    folder = Path(folder)
    first = next(iter(closed.values()))
    arena: dict[str, Any] = {
        "schema": 1,
        "experiment": first["experiment"],
        "environment": first.get("environment"),
        **{name: chosen[name] for name in ("objective", "aims", "tuning", "trials")},
        **arena_standing(chosen, closed),
    }
    for entry in arena["methods"]:
        made = chosen["methods"][entry["method"]]
        entry |= {"settings": made["settings"], "trial": made["trial"]}
        entry["tuning_objective"] = made["objectives"][made["trial"]]
        entry["default_objective"] = made["objectives"][0]
    text = json.dumps(arena, indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(folder / "arena.json", text + "\n")
    write_whole(folder / "arena.md", arena_markdown(arena))
    write_whole(folder / "arena.csv", arena_csv(arena))
    with drawing():
        picture = io.BytesIO()
        arena_front(arena).savefig(picture, dpi=150, metadata={"Software": None})
    write_whole(folder / "front.png", picture.getvalue())
    return arena
