"""`report`: what was asked, done and shown, on one page and as JSON."""

import base64
import io
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from gsu_jax.checks import import_extra
from gsu_jax.removal._events import EVENTS
from gsu_jax.removal.service._case import Case
from gsu_jax.removal.service._deadline import deadline_of
from gsu_jax.removal.service._end import NOT_COVERED
from gsu_jax.removal.service._files import Record, write_json
from gsu_jax.removal.service._lines import lines_of
from gsu_jax.removal.service._measures import noise
from gsu_jax.removal.service._standing import decides, failed_lines, of_last_run, tries, verified
from gsu_jax.report import image_grid
from gsu_jax.storage import write_whole

CLAIMS = {
    "rows": "The influence of the listed images is removed, as if they had never been trained on.",
    "class": "The model draws nothing of the class, and describes it as if it had never seen it.",
    "concept": "The model draws nothing like it, from whatever images it learned it.",
}
MEANINGS = {
    "PASSED": "the test could have seen the effect, and did not see it",
    "FAILED": "the test found what must not be there, or could have shown its absence and did not",
    "NOT DETECTABLE": "nothing was found, and at this size nothing could have been: no evidence",
    "NOT RUN": "nothing is known",
}
FACTS = ("request", "claim", "what", "count", "retained", "method", "epochs", "utility_budget")
SHOWN = 40


def report(case: Case, *, with_pictures: bool = False) -> Path:
    """Writes `report.json` and a page that needs no other file; both name no image.

    Args:
        case: That was planned.
        with_pictures: Writes `report-with-pictures.html` instead, which shows images to forget and
            samples of both models; `purge` removes it.

    Returns:
        The page.

    Raises:
        ImportError: Jinja2 or Pillow is not installed.
        ValueError: The request was not planned, pictures are asked for after the purge, or
            `verification.json` is not what the verifier signed.
    """
    if not case.facts_path.is_file():
        raise ValueError(f"request {case.number} is not planned in {case.home}; plan it first")
    found = describe(case)
    name = "report-with-pictures.html" if with_pictures else "report.html"
    page = _template().render(
        found=found, claims=CLAIMS, meanings=MEANINGS, pictures=_pictures(case, with_pictures)
    )
    if not with_pictures:
        write_json(case.folder / "report.json", found)
    write_whole(case.folder / name, page)
    return case.folder / name


def describe(case: Case) -> Record:
    """Returns what `report.json` holds: the request, its events, its lines, and what is open."""
    result = verified(case)
    lines = result.get("lines", {})
    claim = case.facts["claim"]
    asked = {test.name: test.asks for test in lines_of(case)}
    failed = failed_lines(case)
    worst = decides(lines)
    verdict = lines[worst]["verdict"] if worst else "NOT RUN"
    if failed and verdict != "FAILED":  # by an earlier verification of the same run
        verdict, worst = "FAILED", failed[0]
    verdicts = {
        name: "FAILED" if name in failed else lines.get(name, {}).get("verdict", "NOT RUN")
        for name in asked
    }
    not_shown = [
        f"{name} ({asked[name]}): {verdict}"
        for name, verdict in verdicts.items()
        if verdict != "PASSED"
    ]
    measured = of_last_run(case, "remeasured")
    return {
        "facts": {name: case.facts[name] for name in FACTS},
        "claim": CLAIMS[claim],
        "deadline": deadline_of(case),
        "stage": case.stage,
        "verdict": verdict,
        "decides": worst,
        "checkpoint": result.get("checkpoint", ""),
        "settings": result.get("settings", {}),
        "lines": lines,
        "asks": asked,
        "calibration": result.get("calibration", {}),
        "not_shown": [*not_shown, *filter(None, [tries(case)]), *NOT_COVERED],
        "series": measured[-1].predicate if measured else {},
        "events": [
            {"seq": e.seq, "time": e.time[:19], "type": e.type, "hash": e.hash,
             "signer": EVENTS[e.type].signer}
            for e in case.events
        ],
    }  # fmt: skip


def _pictures(case: Case, with_pictures: bool) -> dict[str, str]:
    """Titles -> PNG in base64. Samples of the new model alone, unless pictures are asked for."""
    shown: dict[str, Any] = {}
    found: dict[str, str] = {}
    if case.stage in ("ran", "verified", "released", "closed") and case.published.is_dir():
        shown["Samples of the new checkpoint"] = case.load(
            case.published, case.checkpoint, "the one that was published"
        )
    if with_pictures:
        found["Images to forget"] = _png(case.split.train.forget.images[:SHOWN])
        shown["Samples of the old checkpoint"] = case.load(
            case.base, case.facts["base"], "the one that was deployed"
        )
    for title, params in shown.items():
        found[title] = _png(np.asarray(case.model.sample(params, noise(), SHOWN)))
    return found


def _png(images: np.ndarray) -> str:
    image = import_extra("PIL.Image", "pillow", "pictures of a report")
    content = io.BytesIO()
    image.fromarray(image_grid(images)).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def _template() -> Any:
    jinja2 = import_extra("jinja2", "jinja2", "report.html")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(
        files("gsu_jax.removal.service").joinpath("case.html.jinja").read_text("utf-8")
    )
