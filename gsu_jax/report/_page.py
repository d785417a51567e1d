"""Renders report.html: everything a study found, on one page that needs no other file."""

import base64
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gsu_jax.checks import import_extra
from gsu_jax.report import _figures as figures
from gsu_jax.report import _judges as judges
from gsu_jax.report import _tables as tables
from gsu_jax.report._columns import MARKS
from gsu_jax.report._curves import curves
from gsu_jax.report._findings import Findings
from gsu_jax.report._front import front
from gsu_jax.report._grids import image_grid, png
from gsu_jax.storage import write_whole

if TYPE_CHECKING:
    from jinja2 import Template


def write_report(
    path: str | os.PathLike,
    results: dict,
    *,
    grids: Mapping[str, Any] | None = None,
    histories: Mapping[str, Sequence[Mapping[str, np.ndarray]]] | None = None,
    published: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Writes report.html, with all pictures and styles inside and without scripts.

    Args:
        path: The file.
        results: As in results.json. The page shows the methods in the order of the rows.
        grids: Method -> samples, from the same latents for every method: a PNG file, a uint8
            picture `[height, width]` or `[height, width, 3]`, or images
            `[n, height, width, channels]`.
        histories: Method -> a mapping for each seed, of "retain_loss", "forget_loss", "cosine" (of
            the incoming gradient with the retain gradient) and "applied_cosine" to arrays
            `[steps]`.
        published: Method -> metric -> the published value as text, such as "0.153 (0.057)".

    Raises:
        ImportError: Jinja2, matplotlib or Pillow is not installed.
        OSError: The file cannot be written. An older file is left unchanged.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "report.html"
        >>> write_report(path, {"experiment": "digits", "rows": []})
        >>> "No row is finished yet" in path.read_text()
        True
    """
    page = html_page(results, grids=grids, histories=histories, published=published)
    write_whole(path, page)


def html_page(
    results: dict,
    *,
    grids: Mapping[str, Any] | None = None,
    histories: Mapping[str, Sequence[Mapping[str, np.ndarray]]] | None = None,
    published: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Returns the text of report.html; the arguments are those of `write_report`.

    Example:
        >>> "No row is finished yet" in html_page({"experiment": "digits", "rows": []})
        True
    """
    found = Findings(results)
    grids, histories = (_in_order(given or {}, found.methods) for given in (grids, histories))
    histories = {method: seeds for method, seeds in histories.items() if len(seeds)}
    drawn = dict.fromkeys([*found.methods, *grids, *histories], "method") | found.roles
    look = figures.styles(drawn)
    has_fratio = found.columns[0].metric == "fratio"
    alive = any(not row.get("diverged") for row in found.rows)
    return _template().render(
        title=results["experiment"],
        facts=_facts(found, results),
        found=found,
        columns=tables.main_columns(found),
        marks=MARKS,
        near=tables.NEAR,
        aims=judges.AIMS,
        enough=judges.ENOUGH,
        apart=judges.APART,
        main_cell=tables.main_cell,
        front=figures.svg(front(results, look), "points") if alive and has_fratio else None,
        paired=tables.paired_table(found),
        cost=tables.cost_table(found),
        grids=_samples(grids, look),
        curves=figures.svg(curves(histories, look), "curves") if histories else None,
        published=tables.published_table(found, published) if published else None,
        seeds=tables.seeds_table(found),
        settings={
            name: {key: _text(value) for key, value in _flat(results[name]).items()}
            for name in ("config", "environment", "reference")
            if results.get(name)
        },
    )


def _template() -> "Template":
    jinja2 = import_extra("jinja2", "jinja2", "report.html")
    undefined = jinja2.StrictUndefined
    environment = jinja2.Environment(
        autoescape=True, undefined=undefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(
        files(__package__).joinpath("page.html.jinja").read_text("utf-8")
    )


def _facts(found: Findings, results: dict) -> dict[str, str]:
    config, reference = results.get("config") or {}, results.get("reference") or {}
    seeds = {"yardstick": set(), "other": set()}
    for row in found.rows:
        kind = "yardstick" if row["method"] == found.yardstick else "other"
        seeds[kind].add(row.get("seed"))
    accuracy = reference.get("judge_accuracy")
    facts = {
        "forgotten": config.get("forget"),
        "data": config.get("dataset"),
        "seeds": len(seeds["other"]) or None,
        "retrained models": len(seeds["yardstick"]) or None,
        "samples a model": reference.get("samples"),
        "judge accuracy": None if accuracy is None else f"{100 * accuracy:.1f} %",
        "features of FID": reference.get("feature_extractor"),
        "second judge": _second(reference.get("second_judge") or {}),
        "devices": (results.get("environment") or {}).get("devices"),
    }
    return {name: text for name, value in facts.items() if (text := _text(value))}


def _second(judge: Mapping[str, Any]) -> str:
    accuracy = judge.get("judge_accuracy")
    name = judge.get("feature_extractor", "").partition(",")[0]
    return "" if accuracy is None else f"{name}, {100 * accuracy:.1f} %"


def _samples(
    grids: Mapping[str, Any], look: Mapping[str, figures.Style]
) -> list[dict[str, str | None]]:
    return [
        {
            "method": method,
            "color": look[method].color.replace(figures.INK, "currentColor"),
            "png": None if (data := _png(grid)) is None else base64.b64encode(data).decode(),
            "file": os.fspath(grid) if isinstance(grid, (str, os.PathLike)) else None,
        }
        for method, grid in grids.items()
    ]


def _png(grid: Any) -> bytes | None:
    """The bytes of a picture; None if its file is lost, which must not cost the whole report."""
    if isinstance(grid, (str, os.PathLike)):
        try:
            return Path(grid).read_bytes()
        except OSError:
            return None
    grid = np.asarray(grid)
    return png(image_grid(grid) if grid.ndim == 4 else grid)


def _flat(values: Mapping, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _in_order(by_method: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    order = [m for m in methods if m in by_method] + [m for m in by_method if m not in methods]
    return {method: by_method[method] for method in order}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return str(value)
