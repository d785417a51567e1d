"""`Artifacts`: trees kept with their provenance, lent between folders, and the log."""

import json
import os
import shutil

import numpy as np
import pytest

from gsu_jax import storage
from gsu_jax.storage import Artifacts, check_lender, differences

MADE_WITH = {"data": "ab12", "model": {"widths": [4, 8]}}
TREE = {"kernel": np.arange(3.0, dtype=np.float32)}


@pytest.fixture
def store(tmp_path):
    return Artifacts(tmp_path)


def events(store):
    return [json.loads(line) for line in (store.folder / "log.jsonl").read_text().splitlines()]


def test_artifact_comes_back_with_its_facts(store):
    assert not store.has("net-0")
    store.save("net-0", TREE, {"seconds": 1.5}, MADE_WITH)
    assert store.has("net-0")
    assert store.facts("net-0", MADE_WITH) == {"seconds": 1.5}
    np.testing.assert_array_equal(store.load("net-0", TREE)["kernel"], TREE["kernel"])
    for _ in range(2):
        store.remove("net-0")
        assert not store.has("net-0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "cd"}, "net-0 .*\n  data: 'ab12' there, 'cd' now"),
        ({"model": {}}, r"model\.widths: \[4, 8\] there, None now"),
        ({"forget": "1"}, "forget: None there, '1' now"),
    ],
)
def test_artifact_made_with_something_else_is_refused(store, change, message):
    store.save("net-0", TREE, {}, MADE_WITH)
    with pytest.raises(ValueError, match=message):
        store.facts("net-0", MADE_WITH | change)


def test_checkpoint_without_provenance_is_refused(store):
    storage.save(store.folder / "checkpoints" / "net-0", TREE)
    with pytest.raises(ValueError, match="data: None there, 'ab12' now"):
        store.facts("net-0", MADE_WITH)


def test_record_of_an_earlier_release_is_upgraded_before_it_is_compared(tmp_path):
    Artifacts(tmp_path).save("net-0", TREE, {"steps": 3}, MADE_WITH | {"retired": 1})
    store = Artifacts(tmp_path, upgrade=lambda record: {k: record[k] for k in MADE_WITH})
    assert store.facts("net-0", MADE_WITH) == {"steps": 3}


def test_differences_name_every_place():
    old, new = {"a": 1, "b": {"c": 2, "d": [3]}}, {"a": 1, "b": {"c": 4, "d": [3]}, "e": 5}
    assert list(differences(old, new)) == ["b.c: 2 there, 4 now", "e: None there, 5 now"]


# Borrowing


@pytest.fixture
def lender(tmp_path):
    lender = Artifacts(tmp_path / "lender")
    lender.save("net-0", TREE, {"seconds": 1.5}, MADE_WITH)
    return lender


@pytest.fixture
def borrower(tmp_path, lender):
    (tmp_path / "out").mkdir()
    return Artifacts(tmp_path / "out", lender.folder)


def test_artifact_made_with_the_same_is_copied_with_its_facts(borrower, lender):
    borrower.borrow("net-0", TREE, MADE_WITH)
    shutil.rmtree(lender.folder)
    assert borrower.facts("net-0", MADE_WITH) == {"seconds": 1.5}
    np.testing.assert_array_equal(borrower.load("net-0", TREE)["kernel"], TREE["kernel"])
    assert events(borrower)[-1]["event"] == "borrowed"


def test_unfit_artifact_is_not_borrowed_and_the_log_gives_the_reason(borrower, lender):
    borrower.borrow("net-0", TREE, MADE_WITH | {"data": "cd"})
    borrower.borrow("net-0", {"kernel": np.zeros(5, np.float32)}, MADE_WITH)
    borrower.borrow("net-1", TREE, MADE_WITH)
    shutil.rmtree(next((lender.folder / "checkpoints" / "net-0").glob("data-*")))
    borrower.borrow("net-0", TREE, MADE_WITH)
    assert not borrower.has("net-0")
    found = events(borrower)
    assert [e["event"] for e in found] == ["not borrowed"] * 4
    assert [e["part"] for e in found] == ["net-0", "net-0", "net-1", "net-0"]
    for event, reason in zip(found, ("'ab12'", "float32[3]", "net-1", "damaged"), strict=True):
        assert reason in event["reason"]


def test_present_artifact_is_not_borrowed(borrower):
    borrower.save("net-0", TREE, {"seconds": 9.0}, MADE_WITH)
    borrower.borrow("net-0", TREE, MADE_WITH)
    assert borrower.facts("net-0", MADE_WITH) == {"seconds": 9.0}


def test_folder_without_checkpoints_is_no_lender(tmp_path, lender):
    check_lender(lender.folder)
    with pytest.raises(ValueError, match=f"models-from {tmp_path} holds no checkpoints"):
        check_lender(tmp_path)
    with pytest.raises(ValueError, match=r"models-from .*nowhere is no folder"):
        check_lender(tmp_path / "nowhere")


# Log


def test_every_line_of_the_log_is_json(store):
    store.log("start", missing=3)
    store.log("epoch", loss=[0.5, float("nan"), float("inf")], row={"fid": float("nan")})
    first, second = events(store)
    assert (first["event"], first["missing"]) == ("start", 3)
    assert (second["loss"], second["row"]) == ([0.5, None, None], {"fid": None})
    assert second["time"] >= first["time"] > 1e9


def test_line_after_a_torn_one_is_kept(store):
    store.log("start")
    path = store.folder / "log.jsonl"
    path.write_text(path.read_text() + '{"time": 1.0, "eve')
    store.log("epoch", epoch=1)
    store.log("epoch", epoch=2)
    lines = path.read_text().splitlines()
    assert [json.loads(line).get("epoch") for line in (lines[0], *lines[2:])] == [None, 1, 2]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disk_is_an_os_error_that_names_the_log(store):
    (store.folder / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"log.jsonl: No space left"):
        store.log("start")
