"""A request for the tests of the service: its file, a checkpoint, keys and a folder of cases."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import desk_models

from gsu_jax.data import load
from gsu_jax.removal import (
    init_keys,
    load_public_keys,
    read_request,
    verification,
    verify,
    weights_digest,
)
from gsu_jax.removal.service import Case, _run, plan, run
from gsu_jax.removal.service._case import load_params
from gsu_jax.storage import exists, save

NUMBER = "2026-014"
GIVEN = {
    "request": f'"{NUMBER}"',
    "claim": '"class"',
    "what": '{ class = "1" }',
    "data": '"digits"',
    "model": '"desk_models:vae"',
    "checkpoint": '"weights"',
    "method": '"gradient_ascent"',
    "epochs": "1",
    "train": '{ function = "desk_models:train" }',
    "utility_budget": "1.0",
}
LISTED = {"claim": '"rows"', "what": "{ ids = [3, 14, 159, 265] }"}


@cache
def weights():
    return desk_models.train(load("digits").train.images, 7)


class Desk:
    """A folder with all that a request needs."""

    def __init__(self, folder: Path, params=None, **changed: str | None):
        self.folder, self.home = folder, folder / "removals"
        self.base = folder / "weights"
        self.file = folder / "request.toml"
        folder.mkdir(exist_ok=True)
        save(self.base, weights() if params is None else params)
        self.write(**changed)
        init_keys(self.home / "keys")

    def write(self, **changed: str | None) -> Path:
        """Writes the request file; None leaves a key out."""
        given = {name: value for name, value in (GIVEN | changed).items() if value is not None}
        self.file.write_text("".join(f"{name} = {value}\n" for name, value in given.items()))
        return self.file

    def case(self, project: str | None = None) -> Case:
        """The case as a new command sees it."""
        return Case(self.home, NUMBER, project=project)

    def plan(self, **changed: str | None):
        return plan(read_request(self.write(**changed)), self.case("faces"), modules=self.folder)

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.case().events]

    @property
    def is_whole(self) -> bool:
        return verify(self.case().ledger, load_public_keys(self.home / "keys")) == []

    def snapshot(self) -> dict[str, bytes]:
        """Every file with its content; locks are none."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name != ".lock"
        }

    @property
    def paths(self) -> list[str]:
        """Every file and folder; locks are none."""
        return sorted(str(path) for path in self.folder.rglob("*") if path.name != ".lock")

    def copy(self, folder: Path) -> "Desk":
        """Another desk with the same files; the paths in `case.json` lead to its own checkpoint."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        other = object.__new__(Desk)
        other.folder, other.home = folder, folder / "removals"
        other.base, other.file = folder / "weights", folder / "request.toml"
        for path in other.home.glob("cases/*/case.json"):
            path.write_text(path.read_text().replace(str(self.folder), str(folder)))
        return other


def check_desk(desk):
    """What holds at every moment, killed or not."""
    assert desk.is_whole
    assert weights_digest(load_params(desk.base, desk.case().model)) == weights_digest(weights())
    new = desk.folder / f"weights-{NUMBER}"
    if exists(new):
        params = load_params(new, desk.case().model)  # whole, or this raises
        if "ran" in desk.types:
            assert weights_digest(params) == desk.case().checkpoint


def sign_verdict(desk):
    """What `verify` leaves behind, without its minute."""
    case = desk.case()
    (case.folder / "models").mkdir()
    (case.folder / "models" / "judge").write_text("weights")
    lines = verification({"V2 share": "PASSED"}, configuration="c" * 64)
    key, checkpoint = case.key("verifier"), case.checkpoint
    case.ledger.append("verified", NUMBER, key, lines, checkpoint=checkpoint)


def race_two_runs(desk, folder, location, monkeypatch):
    """Two operators with a folder each run one request at once; returns what each was told.

    Their devices differ, and so do the weights. Both have saved before one event is written.
    """
    other, barrier, turns = desk.copy(folder), threading.Barrier(2), threading.Lock()
    unlearn, save_checkpoint = _run._unlearn, _run.save

    def unlearn_elsewhere(case):
        outcome, params, record = unlearn(case)
        params = {name: leaf + (case.home == other.home) for name, leaf in params.items()}
        return outcome._replace(checkpoint=weights_digest(params)), params, record

    def save_and_wait(*words, **given):
        with turns:  # orbax saves one at a time
            save_checkpoint(*words, **given)
        barrier.wait(120)

    def attempt(home):
        try:
            return run(Case(home, NUMBER, ledger=location, keys=desk.home / "keys"))
        except ValueError as error:
            return str(error)

    monkeypatch.setattr(_run, "_unlearn", unlearn_elsewhere)
    monkeypatch.setattr(_run, "save", save_and_wait)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(attempt, [desk.home, other.home]))


def check_race(said, desk, location):
    """One run was taken; the other operator is told what to do, and the first goes on."""
    (taken,) = (each for each in said if not isinstance(each, str))
    (refused,) = (each for each in said if isinstance(each, str))
    assert refused == (
        f"ran comes right after planned, and the last step of request {NUMBER} is ran: if another "
        "operator took it, go on from there, or undo it"
    )
    home = Path(taken.published).parent / "removals"
    case = Case(home, NUMBER, ledger=location, keys=desk.home / "keys")
    assert [event.type for event in case.events].count("ran") == 1
    assert case.checkpoint == taken.checkpoint
    lines = verification({"V2 share": "PASSED"}, configuration="c" * 64)
    case.ledger.append("verified", NUMBER, case.key("verifier"), lines, checkpoint=taken.checkpoint)
    assert verify(case.ledger, load_public_keys(case.keys)) == []


def damage(checkpoint):
    """Changes a byte in the middle of its largest file, and returns the path."""
    files = (path for path in checkpoint.glob("data-*/**/*") if path.is_file())
    path = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path
