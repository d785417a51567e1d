"""The evidence of the decoder: means in the rows, and phi of each image in a file of a row."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gsu_jax.methods import Method
from gsu_jax.metrics import EVIDENCE_METRICS, evidence_means, evidence_of_kinds
from gsu_jax.runtime import on_first_process, stage
from gsu_jax.storage import write_whole
from gsu_jax.study._models import Unlearn, has_checkpoint, model_of_row
from gsu_jax.study._state import Study

FEWEST = 3  # retrained models from which on images are compared one by one


def evidence_path(folder: Path, row: str, seed: int) -> Path:
    """Returns where phi of each image of a row is kept."""
    return folder / "evidence" / f"{row}-{seed}.npz"


@on_first_process
def measure_evidence(study: Study, params: Any, row: str, seed: int) -> dict[str, float | None]:
    """Returns `EVIDENCE_METRICS` of a model, and keeps phi of each image."""
    setup = study.setup
    tested = setup.source.test.images, setup.forgotten, setup.listed
    found = evidence_of_kinds(setup.model, params, *tested, images=setup.config.phi_images)
    if found:
        arrays = {f"phi_{kind}": each.phi for kind, each in found.items()}
        write_arrays(evidence_path(study.store.folder, row, seed), arrays)
    return evidence_means(found)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays as an .npz file, whole or not at all."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_whole(path, content.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads a file of `write_arrays`; an empty dict if it is missing or damaged."""
    try:
        with np.load(path) as file:  # no pickle
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def add_evidence(study: Study, unlearn_row: Unlearn) -> None:
    """Measures phi of each row that lacks it and has its checkpoint; the others stay as they are.

    Nothing is trained or unlearned again.
    """
    lacking = _lacking(study)
    if not lacking:
        return
    with stage("measure phi", len(lacking)) as advance:
        for method, seed in lacking:
            advance(0, f"{method.title}, seed {seed}")
            params = model_of_row(study, method, seed, unlearn_row).trained.params
            measured = measure_evidence(study, params, method.title, seed)
            study.results.add_to_row(method.title, seed, measured, keep=True)
            advance(1)


def _lacking(study: Study) -> list[tuple[Method, int]]:
    by_label = {method.title: method for method in study.methods}
    lacking = [
        (by_label[row["method"]], row["seed"])
        for row in study.results.content["rows"]
        if row.get("fid") is not None and _lacks(study, row)
    ]
    return [(method, seed) for method, seed in lacking if has_checkpoint(study, method, seed)]


def _lacks(study: Study, row: dict) -> bool:
    """Whether a row lacks the means, or the file of a row that has them."""
    if not row.keys() >= {*EVIDENCE_METRICS}:
        return True
    retrained = any(method.role == "yardstick" for method in study.methods)
    if row["phi_flagged"] is None or not retrained or len(study.ensemble) < FEWEST:
        return False
    return not _is_there(evidence_path(study.store.folder, row["method"], row["seed"]))


@on_first_process
def _is_there(path: Path) -> bool:
    return bool(read_arrays(path))
