"""`release`, `undo`, `purge` and `close`: what becomes of a checkpoint, and of a request."""

import shutil
from collections.abc import Callable
from pathlib import Path

from gsu_jax.data import clear_cache
from gsu_jax.removal._events import ENDS, Event
from gsu_jax.removal._statements import removal_record
from gsu_jax.removal.service._case import FACTS, PRIVATE, Case, Weights
from gsu_jax.removal.service._files import Record, read_json, write_json
from gsu_jax.removal.service._left_out import EXCLUSIONS
from gsu_jax.removal.service._models import MODELS_FOLDER
from gsu_jax.removal.service._standing import failed_lines, of_last_run, tries
from gsu_jax.storage import CheckpointError

PURGING, OLD = "purging.json", "old checkpoint"
NOT_COVERED = (
    "copies of the weights and of the images that are not in this folder",
    "models that were trained from the old checkpoint",
    "attribute inference and exfiltration, which no line tests",
)


def release(case: Case, *, although_failed: bool = False) -> Path:
    """Makes the new checkpoint the current one, in `current.json`.

    Args:
        case: That was verified.
        although_failed: Releases although a line FAILED in a verification of this run; the ledger
            keeps the verdict.

    Returns:
        The new checkpoint.

    Raises:
        CheckpointError: The new checkpoint is gone or changed.
        ValueError: It was not verified, a line FAILED, or another request was released since it was
            planned.
    """
    operator = case.key("operator")
    with case.locked():
        stage = case.require("verified", "released", to="release")
        failed = failed_lines(case)
        if failed and not although_failed:
            raise ValueError(
                f"request {case.number} FAILED {', '.join(failed)}: undo it, or release it with "
                "--although-failed, which the ledger will show"
            )
        case.load(case.published, case.checkpoint, "the one that was published")
        if not _may_follow(case):
            raise ValueError(
                f"request {case.number} started from {case.base}, and the current checkpoint is "
                f"{case.current['checkpoint']}: released, it would bring back what that one "
                "forgot. Undo the request and plan it from the current one"
            )
        if stage == "verified":
            current = case.current.get("weights", case.checkpoint)
            old = case.facts["base"] if current == case.checkpoint else current
            replaces = {"replaces": old}
            case.ledger.append(
                "released", case.number, operator, replaces, checkpoint=case.checkpoint
            )
        case.point_to(case.published, case.checkpoint)
    return case.published


def _may_follow(case: Case) -> bool:
    """Whether the current checkpoint forgot nothing that the new one knows."""
    base = case.facts["base"]
    weights = case.current.get("weights", base)
    if weights in (base, case.checkpoint):
        return True
    behind = case.behind(weights)  # a union stands for all requests of a series
    if not behind or behind[0].facts["base"] != base:
        return False
    return {other.number for other in behind} <= set(case.facts.get("union_of", ()))


def undo(case: Case, *, reason: str = "the operator undid it") -> Path:
    """Makes the old checkpoint the current one again; the new one stays where it is.

    Args:
        case: That was run.
        reason: For the ledger; write no name into it.

    Returns:
        The current checkpoint: the old one, unless another request was released since.

    Raises:
        CheckpointError: The old checkpoint is gone or changed.
        ValueError: There is nothing to undo, or another request was released after this one.
    """
    operator = case.key("operator")
    with case.locked():
        stage = case.require("ran", "verified", "released", "undone", to="undo")
        old, base = _replaced(case)
        if not old.exists() and _is_purged(case):
            raise CheckpointError(f"request {case.number} cannot be undone: {old} was purged")
        case.load(old, base, "the one that was deployed")
        current = case.current.get("weights")
        was_current = current in (None, case.checkpoint)
        if case.released and not was_current and current != base:
            raise ValueError(
                f"request {case.number} cannot be undone: {case.current['checkpoint']} was "
                "released after it and is the current checkpoint; undo that request first"
            )
        if stage != "undone":
            undone = {"reason": reason}
            case.ledger.append("undone", case.number, operator, undone, checkpoint=base)
        if was_current:
            case.point_to(old, base)
    return Path(case.current.get("checkpoint", old))


def _is_purged(case: Case) -> bool:
    """Whether a purge took the old checkpoint."""
    purges = (event.predicate["items"] for event in case.events if event.type == "purged")
    return any(OLD in items for items in purges)


def _replaced(case: Case) -> Weights:
    """The checkpoint that the new one replaces: for a union, that of the series."""
    base = Weights(case.base, case.facts["base"])
    if not case.facts.get("union_of"):
        return base
    released = [event for event in case.events if event.type == "released"]
    weights = released[-1].predicate["replaces"] if released else case.current.get("weights")
    behind = case.behind(weights) if weights else []
    return Weights(behind[-1].published, behind[-1].checkpoint) if behind else base


def purge(case: Case, *, original: bool = False) -> list[str]:
    """Removes what shows the images or was computed from them, and writes down what went.

    Killed on the way, the next call goes on, and the event names everything.

    Args:
        case: In any state.
        original: Removes the old checkpoint too, which must not be the current one.

    Returns:
        What was removed, in words.

    Raises:
        CheckpointError: The old checkpoint is to go, and the new one is gone or changed.
        ValueError: The old checkpoint is still in use.
    """
    operator = case.key("operator")
    with case.locked():
        stage = case.stage
        if stage in ENDS:
            raise ValueError(f"request {case.number} is {stage}: nothing may follow")
        case.require(*_WITH_FILES, to="purge")
        if original and (stage != "released" or not case.published.is_dir()):
            raise ValueError(
                f"--original: {case.base} is in use until request {case.number} is released; its "
                f"last step is {stage!r}"
            )
        if original:  # the last copy must be whole, and the ledger must not go with it
            case.load(case.published, case.checkpoint, "the one that was published")
            if case.home.resolve().is_relative_to(case.base):
                raise ValueError(f"--original: {case.home} lies in {case.base}; move it first")
        note = case.folder / PURGING
        done = sum(event.type == "purged" for event in case.events)
        begun: Record = (
            read_json(note, "items", "before") if note.is_file() else {"items": [], "before": done}
        )
        if begun["before"] < done:  # its event was written: only the note was left
            begun = {"items": [], "before": done}
        steps = _purgeable(case, original)
        items: list[str] = begun["items"]
        items += [name for name, (paths, _) in steps.items() if paths and name not in items]
        if items:
            write_json(note, {"items": items, "before": done})
            for _, remove in steps.values():
                remove()
            case.ledger.append("purged", case.number, operator, {"items": items})
        note.unlink(missing_ok=True)
    return items


_WITH_FILES = ("received", "identified", "planned", "ran", "verified", "released", "undone")


def _purgeable(case: Case, original: bool) -> dict[str, tuple[list[Path], Callable[[], object]]]:
    """What -> the paths that are there, and what removes them."""
    folder = case.folder
    data = read_json(case.facts_path, "data")["data"]  # also of a plan that was never finished
    places = {
        "pictures": [folder / "forget.png", folder / "report-with-pictures.html"],
        "list of the images": [folder / PRIVATE],
        "models and judge of the verification": [folder / MODELS_FOLDER],
        OLD: [case.base] if original else [],
    }
    found: dict[str, tuple[list[Path], Callable[[], object]]] = {}
    for name, paths in places.items():
        there = [path for path in paths if path.exists()]
        found[name] = there, lambda there=there: [_remove(path) for path in there]
    cached = Path(data).exists()  # a folder or a file of the operator
    found["decoded images in the cache"] = (
        [Path(data)] if cached and (folder / PRIVATE).exists() else [],
        lambda: clear_cache(data) if cached else None,
    )
    return found


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refuse_if_in_union(case: Case) -> None:
    """Raises ValueError if an open union of requests has the list of this one's images too."""
    for path in (case.home / "cases").glob(f"*/{FACTS}"):
        if case.number in read_json(path).get("union_of", ()):
            number = path.parent.name
            if case.other(number).stage not in ENDS:
                raise ValueError(
                    f"the images of request {case.number} are in {number} too: close that first"
                )


def close(case: Case, *, refused: str = "") -> Event:
    """Ends a request: purges it, destroys its key, and writes the last event.

    A request that has ended gives its receipt again.

    Args:
        case: That was released or undone; or in any state, if it is refused.
        refused: Why the request is refused; write no name into it.

    Returns:
        The event, whose hash is the receipt.

    Raises:
        ValueError: The request is neither released nor undone, an open union has its images too, or
            a closed or released request is to be refused.
    """
    operator = case.key("operator")
    if case.stage in ENDS:
        if refused and case.stage != "refused":
            raise ValueError(f"request {case.number} is closed: it cannot be refused any more")
        return case.last(case.stage)
    case.check_clock()
    if refused:
        if not case.stage:
            raise ValueError(f"request {case.number} was never received")
        if case.released:
            raise ValueError(
                f"request {case.number} was released: close it, or undo it first, else its images "
                "would be retained by later requests"
            )
        if case.facts_path.is_file():
            _refuse_if_in_union(case)
            purge(case)
        (case.folder / EXCLUSIONS).unlink(missing_ok=True)
        return case.ledger.append(
            "refused", case.number, operator, {"reason": refused}, keys=case.secrets
        )
    stage = case.require("released", "undone", to="close")
    _refuse_if_in_union(case)
    purge(case)
    if stage == "undone":  # nothing was removed
        (case.folder / EXCLUSIONS).unlink(missing_ok=True)
    facts, open_lines = case.facts, {}
    if stage == "released":
        lines = of_last_run(case, "verified")[-1].predicate["gsu_jax_lines"]
        open_lines = {n: row["verdict"] for n, row in lines.items() if row["verdict"] != "PASSED"}
        open_lines |= dict.fromkeys(failed_lines(case), "FAILED")
    risks = [*(f"{name}: {verdict}" for name, verdict in open_lines.items()), tries(case)]
    outcome = "unlearned and released" if stage == "released" else "not removed: the run was undone"
    kept = ["the old checkpoint, which still knows the images"] if case.base.is_dir() else []
    record = removal_record(
        claim=facts["claim"],
        outcome=outcome,
        scope=f"{facts['count']} training images",
        not_covered=[*kept, *NOT_COVERED],
        residual_risk="; ".join(filter(None, risks)) or "no line found anything",
    )
    with case.locked():
        return case.ledger.append("closed", case.number, operator, record, keys=case.secrets)
