"""What is left of a request after its end names no image: ledger, files, and what was printed."""

import base64
import hashlib
import json
import logging

import numpy as np
import pytest
from removal_desk import NUMBER, Desk
from removal_secrets import Secrets

from gsu_jax.data import load
from gsu_jax.removal import Ledger, init_keys, load_key

POSITIONS = [1009, 1123, 1291, 1361]
PERSON = "walpurga-oxenstierna"
NAMES = [f"{PERSON}/sitting-{i:02}.png" for i in (5, 17, 23, 88)]
ASKED = {
    "names": {"claim": '"rows"', "what": f"{{ ids = {json.dumps(NAMES)} }}"},
    "positions": {"claim": '"rows"', "what": f"{{ ids = {POSITIONS} }}"},
    "class": {"claim": '"class"', "what": f'{{ class = "{PERSON}" }}'},
}


@pytest.fixture(scope="module")
def secrets():
    images = load("digits").train.images[POSITIONS]
    stems = [name.rpartition("/")[2].removesuffix(".png") for name in NAMES]
    return Secrets(POSITIONS, [PERSON, *NAMES, *stems], images)


def write_portraits(path):
    """The digits with names; four of them are of one person, who is a class of her own."""
    digits, arrays = load("digits"), {}
    for prefix, part in (("", digits.train), ("test_", digits.test)):
        labels = part.attributes["label"].astype("U40")
        names = np.array([f"{label}/{i}.png" for i, label in enumerate(labels)], "U40")
        chosen = range(4) if prefix else POSITIONS
        labels[chosen] = PERSON
        names[chosen] = [f"{PERSON}/test-{i}.png" for i in range(4)] if prefix else NAMES
        arrays |= {f"{prefix}images": part.images, f"{prefix}labels": labels}
        arrays |= {f"{prefix}names": names}
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "asked", ["names", "positions", pytest.param("class", marks=pytest.mark.long)]
)
def test_record_names_no_image_after_the_close(say, tmp_path, monkeypatch, caplog, secrets, asked):
    monkeypatch.setenv("GSU_JAX_PROGRESS", "on")
    caplog.set_level(logging.DEBUG, "gsu_jax")
    desk = Desk(tmp_path / "desk", **ASKED[asked], data='"portraits.npz"')
    monkeypatch.chdir(desk.folder)
    write_portraits(desk.folder / "portraits.npz")
    printed = []

    def step(*words):
        status, *said = say(*words, "--folder", desk.home)
        assert status in (0, 1), said
        printed.extend(said)

    step("plan", desk.file)
    step("run", NUMBER)
    step("verify", NUMBER, "--samples", 200)
    step("report", NUMBER)
    step("report", NUMBER, "--with-pictures")
    assert secrets.found_in((desk.case().folder / "private.json").read_bytes())
    commitments = desk.case().last("identified").predicate["commitments"]
    step("release", NUMBER, "--although-failed")
    step("purge", NUMBER)
    step("close", NUMBER)
    step("report", NUMBER)
    assert not list((desk.home / "secrets").iterdir())
    assert len(commitments) == 4  # which nobody can check without the key

    kept = ("removals/", f"weights-{NUMBER}/")
    left = {name: said for name, said in desk.snapshot().items() if name.startswith(kept)}
    assert {name.partition("/")[0] + "/" for name in left} == {*kept}
    assert {"report.html", "report.json"} <= {name.rpartition("/")[2] for name in left}
    assert not any(name.endswith((".png", "private.json", "with-pictures.html")) for name in left)
    left |= {f"event {e.seq}": json.dumps(e.statement).encode() for e in desk.case().events}
    left |= {"names of files": "\n".join(left).encode(), "logs": caplog.text.encode()}
    left |= {"standard output and error": "".join(printed).encode()}
    folder = str(desk.folder).encode()  # its number may be any
    found = {place: secrets.found_in(said.replace(folder, b"")) for place, said in left.items()}
    assert {place: what for place, what in found.items() if what} == {}


def in_base64(text):
    return base64.b64encode(text.encode()).decode()


IMAGE = load("digits").train.images[1123]
UINT8, FLOAT32 = (
    hashlib.sha256(pixels.tobytes())
    for pixels in (np.uint8(np.rint(IMAGE * 255)), np.float32(IMAGE))
)
LEAKS = {
    "name": NAMES[2],
    "name of a class": PERSON.upper(),
    "name in base64": in_base64(NAMES[2]),
    "position": "image 1123",
    "position in words": "the images 1,123 and 7",
    "list of positions": "[7,1123]",
    "list of positions in base64 in base64": in_base64(in_base64(json.dumps(POSITIONS))),
    "hash of 8-bit pixels": UINT8.hexdigest(),
    "hash of floats": FLOAT32.hexdigest().upper(),
    "hash of 8-bit pixels in base64": base64.b64encode(UINT8.digest()).decode(),
    "hash of floats in base64": base64.urlsafe_b64encode(FLOAT32.digest()).decode(),
    "hash of a position": hashlib.sha256(b"1123").hexdigest(),
    "commitment without a key": hashlib.sha256(b'["id",1123]').hexdigest(),
    "hash of a name": hashlib.sha256(NAMES[2].encode()).hexdigest(),
}


def searched(folder, said):
    """What a ledger with an event that says it holds: its statement, and the database."""
    init_keys(folder / "keys")
    key, path = load_key(folder / "keys", "operator"), folder / "ledger.sqlite"
    ledger = Ledger(path, "faces")
    ledger.append("received", NUMBER, key, {"claim": "rows"})
    # Long enough that the database breaks it into pages.
    event = ledger.append("purged", NUMBER, key, {"items": ["x" * 5000, said]})
    return json.dumps(event.statement).encode(), path.read_bytes()


@pytest.mark.parametrize("leak", LEAKS)
def test_search_finds_what_an_event_gives_away(tmp_path, secrets, leak):
    for content in searched(tmp_path, LEAKS[leak]):
        assert secrets.found_in(content)


def test_search_finds_nothing_where_nothing_is(tmp_path, secrets):
    innocent = "1,124 of 11,123 images, 0.1123, 2026-12-01T02:44:06.001123Z, sitting-5, ab1123cd"
    for content in searched(tmp_path, innocent):
        assert not secrets.found_in(content)
