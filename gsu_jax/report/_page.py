"""`write_report`: everything a study found, on one page that needs no other file."""

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from gsu_jax.metrics import by_seed
from gsu_jax.report import _figures as figures
from gsu_jax.report import _tables as tables
from gsu_jax.report._comparison import ENSEMBLE
from gsu_jax.report._front import front
from gsu_jax.report._grids import image_grid, png
from gsu_jax.report._results import methods_of
from gsu_jax.report._style import STYLE
from gsu_jax.storage import write_whole


def write_report(
    path: str | os.PathLike,
    results: dict,
    *,
    grids: Mapping[str, Any] | None = None,
    histories: Mapping[str, Sequence[Mapping[str, np.ndarray]]] | None = None,
    published: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Writes report.html: pictures and style inside, no script, light or dark as the reader likes.

    Args:
      path: the file to write.
      results: as in results.json; methods are shown in the order of its rows.
      grids: method -> its samples, drawn from the same latents for every method: a PNG file, a
        uint8 picture [height, width] or [height, width, 3], or images [n, height, width, channels].
      histories: method -> one mapping a seed of "retain_loss", "forget_loss", "cosine" (of the
        incoming gradient with the retain gradient) and "applied_cosine" to arrays [steps].
      published: method -> metric -> the paper's figure as text, such as "0.153 (0.057)".

    Raises:
      OSError: the file cannot be written; the one that was there is as it was.
    """
    rows = results["rows"]
    methods = methods_of(rows)
    parts = [_heading(results), _main(results)]
    if any(not row.get("diverged") for row in rows):
        parts.append(
            _section(
                "Forgetting against utility",
                "Left is more forgotten, down is better for what was kept. Large markers: means "
                "with their 95 % intervals over seeds; small ones: seeds; hollow at the upper "
                "edge: beyond the scale. The hatched region is the 95 % prediction interval of "
                "the retrained models: by these figures, a method inside could be one of them.",
                f"<figure>{figures.svg(front(rows), 'points')}</figure>",
            )
        )
    if paired := tables.paired_table(rows):
        parts.append(
            _section(
                "Against the paper's methods, seed by seed",
                "Mean difference, its 95 % interval, and p of the exact sign-flip test over the "
                "seeds that both have; negative is better. The smallest possible p is 2 in 2<sup>n"
                "</sup>: 0.25 with three seeds, 0.0625 with five, 0.002 with ten.",
                _wide(paired),
            )
        )
    if cost := tables.cost_table(rows):
        parts.append(
            _section(
                "Cost",
                "Set-up of a method included, compilation apart. The bar is the share of the mean "
                "time of one retraining, cut at the whole.",
                _wide(cost),
            )
        )
    if grids:
        parts.append(_samples(_in_order(grids, methods)))
    drawn = {m: h for m, h in _in_order(histories or {}, methods).items() if len(h)}
    if drawn:
        parts.append(
            _section(
                "Along the steps",
                "Bold: mean over seeds; faint: each seed. Losses that explode are on a symmetric "
                "logarithmic scale. Right: cosine with the retain gradient of the incoming forget "
                "gradient (solid) and of the step that was applied (dashed); below zero they "
                "are in conflict.",
                f"<figure>{figures.svg(figures.curves(drawn), 'curves')}</figure>",
            )
        )
    if published:
        parts.append(
            _section(
                "The paper's figures",
                "Bae et al. 2023 (arXiv 2307.04550), mean (deviation) of three repeats. "
                "The paper does not name the feature extractor of its IS and FID, so those are "
                "<em>not comparable in absolute terms</em>; nor are seconds, taken on other "
                "hardware.",
                _wide(tables.published_table(rows, published)),
            )
        )
    parts += [
        _section("Every seed", "", _wide(tables.seeds_table(rows))),
        _section("Made with", "", _settings(results)),
    ]
    title = escape(f"{results['experiment']}: unlearning report")
    write_whole(
        path,
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{''.join(parts)}</main></body></html>\n",
    )


def _heading(results: dict) -> str:
    rows, reference = results["rows"], results.get("reference") or {}
    seeds = {ENSEMBLE: set(), "others": set()}
    for row in rows:
        seeds[ENSEMBLE if row["method"] == ENSEMBLE else "others"].add(row.get("seed"))
    facts = {
        "forgotten": (results.get("config") or {}).get("forget"),
        "data": (results.get("config") or {}).get("dataset"),
        "seeds": len(seeds["others"]) or None,
        "retrained models": len(seeds[ENSEMBLE]) or None,
        "samples a model": reference.get("samples"),
        "judge accuracy": _percent(reference.get("judge_accuracy")),
        "features of FID": reference.get("feature_extractor"),
        "devices": _text((results.get("environment") or {}).get("devices") or None),
    }
    known = "".join(
        f"<div><dt>{name}</dt><dd>{escape(_text(value))}</dd></div>"
        for name, value in facts.items()
        if value not in (None, "")
    )
    title = escape(results["experiment"])
    return f'<header><h1>{title}</h1><dl class="facts">{known}</dl></header>'


def _main(results: dict) -> str:
    rows = results["rows"]
    if not rows:
        return _section("Results", "No row is finished yet.", "")
    lost = sum(bool(row.get("diverged")) for row in rows)
    text = (
        "Mean ± sample deviation over seeds. <b>● inside</b>, <b>▲ above</b>, <b>▼ below</b> the "
        f"95 % prediction interval {_ensemble(rows)}; that interval stands in the row of retrain. "
        "Under a mean: its ratio to the retrained models' (fratio: the upper end of its 95 % "
        "bootstrap interval) and the worst seed. <b>Bold</b>: best of the unlearning methods, "
        "where its 95 % interval lies apart from every other's. "
        '<span class="key good">as retrained, or better</span> '
        f'<span class="key fair">outside, within {tables.NEAR:g}×</span> '
        '<span class="key poor">not there</span>; IS, FID to all data and nelbo of the forgotten '
        "should be inside: below tells as much of what was removed as above."
    )
    if lost:
        text += f" {lost} diverged {'run is' if lost == 1 else 'runs are'} left out of the means."
    return _section("Results", text, _wide(tables.main_table(rows)))


def _ensemble(rows: Sequence[dict]) -> str:
    n = len(by_seed(rows, ENSEMBLE, "fratio"))
    if n < 2:
        return "of retrained models (here fewer than two, so no marks)"
    few = ", too few for more than a rough one" if n < 5 else ""
    return f"for one more retrained model (from {n}{few})"


def _samples(grids: Mapping[str, Any]) -> str:
    look = figures.styles(list(grids))
    cards = ""
    for method, grid in grids.items():
        dot = f'<i style="background:{_ink(look[method].color)}"></i>'
        caption = f"<figcaption>{dot}{escape(method)}</figcaption>"
        cards += f"<figure>{caption}{_picture(grid, method)}</figure>"
    text = "Each place in the grids is the same latent vector, decoded by the model of each method."
    return _section("Samples", text, f'<div class="grids">{cards}</div>')


def _picture(grid: Any, method: str) -> str:
    if isinstance(grid, (str, os.PathLike)):
        try:
            data = Path(grid).read_bytes()
        # A lost picture must not cost the report of an hour's run.
        except OSError:
            return f"<p>picture missing: {escape(os.fspath(grid))}</p>"
    else:
        grid = np.asarray(grid)
        data = png(image_grid(grid) if grid.ndim == 4 else grid)
    text = base64.b64encode(data).decode()
    return f'<img alt="samples: {escape(method)}" src="data:image/png;base64,{text}">'


def _settings(results: dict) -> str:
    tables_ = ""
    for name in ("config", "environment", "reference"):
        entries = _flat(results.get(name) or {})
        body = "".join(
            f"<tr><th>{escape(key)}</th><td>{escape(_text(value))}</td></tr>"
            for key, value in entries.items()
        )
        if body:
            tables_ += f'<table class="settings"><caption>{name}</caption>{body}</table>'
    return f'<div class="columns">{tables_}</div>'


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


def _section(title: str, text: str, body: str) -> str:
    intro = f"<p>{text}</p>" if text else ""
    return f"<section><h2>{title}</h2>{intro}{body}</section>\n"


def _wide(table: str) -> str:
    return f'<div class="wide">{table}</div>'


def _ink(color: str) -> str:
    return "currentColor" if color == figures.INK else color


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return str(value)
