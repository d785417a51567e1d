"""The evidence of the decoder, for rows that an earlier release wrote without it."""

from typing import Any

from gsu_jax.methods import Method
from gsu_jax.metrics import EVIDENCE_METRICS, evidence_metrics
from gsu_jax.runtime import on_first_process, stage
from gsu_jax.study._models import GENERATORS, Unlearn, model_of_row
from gsu_jax.study._setup import Setup
from gsu_jax.study._state import Study


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
            study.results.add_to_row(method.title, seed, _measure(study.setup, params))
            advance(1)


def _lacking(study: Study) -> list[tuple[Method, int]]:
    by_label = {method.title: method for method in study.methods}
    lacking = [
        (by_label[row["method"]], row["seed"])
        for row in study.results.content["rows"]
        if row.get("fid") is not None and not row.keys() >= {*EVIDENCE_METRICS}
    ]
    return [(method, seed) for method, seed in lacking if _has_checkpoint(study, method, seed)]


def _has_checkpoint(study: Study, method: Method, seed: int) -> bool:
    name = method.name if method.role in GENERATORS else method.title
    return study.store.has(f"{name}-{seed}")


@on_first_process
def _measure(setup: Setup, params: Any) -> dict[str, float | None]:
    test = setup.source.test.images
    images = setup.config.phi_images
    return evidence_metrics(setup.model, params, test, setup.forgotten, setup.listed, images=images)
