"""Images one by one: e of each row's phi against the retrained models of the study."""

from typing import Any

import numpy as np

from gsu_jax.metrics import RESIDUAL_METRICS, image_residuals
from gsu_jax.runtime import on_first_process
from gsu_jax.study._evidence import FEWEST, evidence_path, read_arrays, write_arrays
from gsu_jax.study._state import Study

Arrays = dict[str, np.ndarray]
KINDS = ("forget", "retain")


def add_residuals(study: Study) -> None:
    """Adds `RESIDUAL_METRICS` to the rows, and e of each image to the files of their phi.

    A retrained model is compared with the others. Nothing happens with fewer than three retrained
    models. More retrained models change the figures of all rows.
    """
    rows = study.results.content["rows"]
    yardsticks = [method.title for method in study.methods if method.role == "yardstick"]
    changed = False
    for row, found in zip(rows, _residuals(study, rows, yardsticks), strict=True):
        changed |= any(row.get(name) != value for name, value in found.items())
        row |= found
    if changed:
        study.results.save()


@on_first_process
def _residuals(study: Study, rows: list[dict], yardsticks: list[str]) -> list[dict[str, Any]]:
    """Returns what each row gets; an empty dict if there is no ensemble."""
    files = [evidence_path(study.store.folder, row["method"], row["seed"]) for row in rows]
    kept = [read_arrays(path) for path in files]
    retrained = {
        place: phi
        for place, (row, phi) in enumerate(zip(rows, kept, strict=True))
        if row["method"] in yardsticks and phi and not row.get("diverged")
    }
    if len(retrained) < FEWEST:
        return [{}] * len(rows)
    found = []
    for place, (path, own) in enumerate(zip(files, kept, strict=True)):
        others = [phi for other, phi in retrained.items() if other != place]
        metrics, values = _compare(own, others)
        if values and any(
            not np.array_equal(e, own.get(name, []), equal_nan=True) for name, e in values.items()
        ):
            write_arrays(path, own | values)
        found.append(metrics)
    return found


def _compare(own: Arrays, others: list[Arrays]) -> tuple[dict[str, float | None], Arrays]:
    """Returns the figures of a row, and e of each image; NaN where phi is not finite."""
    metrics: dict[str, float | None] = dict.fromkeys(RESIDUAL_METRICS)
    values: Arrays = {}
    for kind in KINDS:
        name = f"phi_{kind}"
        if name not in own or any(name not in other for other in others):
            continue
        phi, retrained = own[name], np.stack([other[name] for other in others])
        finite = np.isfinite(phi) & np.isfinite(retrained).all(axis=0)
        if not finite.any() or not retrained[:, finite].var(axis=0).any():
            continue
        found = image_residuals(phi[finite], retrained[:, finite])
        values[f"e_{kind}"] = np.full(phi.shape, np.nan)
        values[f"e_{kind}"][finite] = found.values
        metrics[f"e_{kind}"] = float(found.values.mean())
        metrics[f"e_{kind}_outside"] = found.outside
    return metrics, values
