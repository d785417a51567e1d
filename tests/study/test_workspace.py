"""The folder of a study: one writer, whole files, its own parts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_study

from gsu_jax.storage import _checkpoints as checkpoints
from gsu_jax.storage import exclusive
from gsu_jax.study._workspace import Workspace, check_lender

ROW = {"method": "a", "seed": 0, "diverged": False, "fid": 1.0}


def start(folder, lender=None, **changes):
    config = {"forget": "1", "methods": {"a": {"rate": 1}, "b": {}}, "seeds": 2} | changes
    results = {"schema": 1, "experiment": "test", "config": config, "rows": []}
    return Workspace(folder, results, lender)


@pytest.fixture
def workspace(tmp_path):
    return start(tmp_path)


def on_disk(workspace):
    return json.loads((workspace.folder / "results.json").read_text())


# Rows


def test_config_is_on_disk_from_the_first_moment(workspace):
    assert on_disk(workspace)["config"]["forget"] == "1"


def test_rows_are_on_disk_in_the_order_of_methods_and_seeds(workspace):
    for method, seed in (("b", 0), ("a", 1), ("a", 0)):
        assert not workspace.has_row(method, seed)
        workspace.add_row(ROW | {"method": method, "seed": seed})
        assert workspace.has_row(method, seed)
    rows = on_disk(workspace)["rows"]
    assert [(row["method"], row["seed"]) for row in rows] == [("a", 0), ("a", 1), ("b", 0)]


def test_second_run_finds_the_rows_and_keeps_methods_and_seeds_it_does_not_name(workspace):
    workspace.add_row(ROW)
    second = start(workspace.folder, methods={"c": {}}, seeds=1, ensemble=8)
    assert second.results["rows"] == [ROW]
    assert list(second.results["config"]["methods"]) == ["a", "b", "c"]
    assert (second.results["config"]["seeds"], second.results["config"]["ensemble"]) == (2, 8)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"forget": "2"}, "forget: '1' there, '2' now"),
        ({"extra": 3}, "extra: None there, 3 now"),
        ({"methods": {"a": {"rate": 2}}}, "methods.a.rate: 1 there, 2 now"),
    ],
)
def test_other_config_is_refused_and_nothing_is_written(workspace, change, difference):
    before = (workspace.folder / "results.json").read_bytes()
    with pytest.raises(ValueError, match=difference):
        start(workspace.folder, **change)
    assert (workspace.folder / "results.json").read_bytes() == before


def test_results_that_cannot_be_written_leave_the_earlier_ones(workspace, monkeypatch):
    before = on_disk(workspace)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*results.json: No space left on device"):
        workspace.add_row(ROW)
    assert on_disk(workspace) == before
    assert [path.name for path in workspace.folder.iterdir()] == ["results.json"]


# Parts


MADE_WITH = {"data": "ab12", "model": {"widths": [4, 8]}}


def test_part_comes_back_with_its_facts(workspace):
    tree = {"kernel": np.arange(3.0, dtype=np.float32)}
    assert not workspace.has_part("net-0")
    workspace.save_part("net-0", tree, {"seconds": 1.5}, MADE_WITH)
    assert workspace.has_part("net-0")
    assert workspace.part_facts("net-0", MADE_WITH) == {"seconds": 1.5}
    np.testing.assert_array_equal(workspace.load_part("net-0", tree)["kernel"], tree["kernel"])
    workspace.remove_part("net-0")
    assert not workspace.has_part("net-0")
    workspace.remove_part("net-0")


def test_part_made_with_something_else_is_refused_with_the_difference(workspace):
    workspace.save_part("net-0", {"x": np.ones(1)}, {}, MADE_WITH)
    with pytest.raises(ValueError, match="net-0 is of another study:\n  data: 'ab12' there, 'cd'"):
        workspace.part_facts("net-0", MADE_WITH | {"data": "cd"})
    with pytest.raises(ValueError, match=r"model\.widths: \[4, 8\] there, None now"):
        workspace.part_facts("net-0", MADE_WITH | {"model": {}})
    with pytest.raises(ValueError, match="forget: None there, '1' now"):
        workspace.part_facts("net-0", MADE_WITH | {"forget": "1"})


def test_checkpoint_that_no_study_made_is_refused(workspace):
    checkpoints.save(workspace.folder / "checkpoints" / "net-0", {"x": np.ones(1)})
    with pytest.raises(ValueError, match=r"net-0 is of another study:\s+data: None there"):
        workspace.part_facts("net-0", MADE_WITH)


# Parts of another study

TREE = {"kernel": np.arange(3.0, dtype=np.float32)}


@pytest.fixture
def lender(tmp_path):
    lender = start(tmp_path / "lender", forget="2")
    lender.save_part("net-0", TREE, {"seconds": 1.5}, MADE_WITH)
    return lender


@pytest.fixture
def borrower(tmp_path, lender):
    return start(tmp_path / "out", lender=lender.folder)


def last_event(workspace):
    return json.loads((workspace.folder / "log.jsonl").read_text().splitlines()[-1])


def test_part_made_with_the_same_is_copied_with_its_facts(borrower, lender):
    borrower.borrow_part("net-0", TREE, MADE_WITH)
    shutil.rmtree(lender.folder)
    assert borrower.part_facts("net-0", MADE_WITH) == {"seconds": 1.5}
    found = borrower.load_part("net-0", TREE)["kernel"]
    np.testing.assert_array_equal(found, TREE["kernel"])
    assert last_event(borrower)["event"] == "borrowed"


def test_part_made_with_something_else_is_left_there_and_the_log_says_so(borrower):
    borrower.borrow_part("net-0", TREE, MADE_WITH | {"data": "cd"})
    assert not borrower.has_part("net-0")
    event = last_event(borrower)
    assert (event["event"], event["part"]) == ("not borrowed", "net-0")
    assert "data: 'ab12' there, 'cd' now" in event["reason"]


def test_damaged_part_is_left_there_and_the_log_says_so(borrower, lender):
    data = next((lender.folder / "checkpoints" / "net-0").glob("data-*"))
    shutil.rmtree(data)
    borrower.borrow_part("net-0", TREE, MADE_WITH)
    assert not borrower.has_part("net-0")
    assert "net-0 is damaged" in last_event(borrower)["reason"]


def test_part_of_other_shapes_is_left_there_and_the_log_says_so(borrower):
    borrower.borrow_part("net-0", {"kernel": np.zeros(5, np.float32)}, MADE_WITH)
    assert not borrower.has_part("net-0")
    assert "saved as float32[3], asked for is float32[5]" in last_event(borrower)["reason"]


def test_part_that_is_here_or_not_there_either_is_not_borrowed(borrower):
    borrower.borrow_part("net-1", TREE, MADE_WITH)
    assert "net-1 does not exist" in last_event(borrower)["reason"]
    borrower.save_part("net-0", TREE, {"seconds": 9.0}, MADE_WITH)
    borrower.borrow_part("net-0", TREE, MADE_WITH)
    assert borrower.part_facts("net-0", MADE_WITH) == {"seconds": 9.0}


def test_folder_without_checkpoints_has_nothing_to_lend(tmp_path, lender):
    check_lender(lender.folder)
    with pytest.raises(ValueError, match=r"--models-from .* holds no checkpoints; give the --out"):
        check_lender(tmp_path)
    with pytest.raises(ValueError, match=r"--models-from .*nowhere is no folder"):
        check_lender(tmp_path / "nowhere")


# Log


def test_every_line_of_the_log_is_json(workspace):
    workspace.log("start", missing=3)
    workspace.log("epoch", loss=[0.5, 0.25])
    lines = (workspace.folder / "log.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert (first["event"], first["missing"]) == ("start", 3)
    assert second["loss"] == [0.5, 0.25]
    assert second["time"] >= first["time"] > 1e9


def test_line_after_a_torn_one_is_not_lost_with_it(workspace):
    workspace.log("start")
    path = workspace.folder / "log.jsonl"
    path.write_text(path.read_text() + '{"time": 1.0, "eve')
    workspace.log("epoch", epoch=1)
    workspace.log("epoch", epoch=2)
    lines = path.read_text().splitlines()
    assert len(lines) == 4
    assert [json.loads(line).get("epoch") for line in (lines[0], *lines[2:])] == [None, 1, 2]


def test_diverged_loss_is_logged_as_strict_json(workspace):
    workspace.log("epoch", loss=[float("nan"), float("inf"), 1.0], row={"fid": float("nan")})
    text = (workspace.folder / "log.jsonl").read_text()
    event = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert event["loss"] == [None, None, 1.0]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disk_is_said_with_the_file(workspace):
    (workspace.folder / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write .*log.jsonl: No space left.* goes on"):
        workspace.log("start")


# One writer


def test_folder_is_made_and_given_back(tmp_path):
    for _ in range(2):
        with exclusive(tmp_path / "a" / "b") as folder:
            assert folder.is_dir()


def test_second_process_is_refused_while_the_first_works_and_not_after(tmp_path):
    code = "import sys, gsu_jax.study as w\nwith w.exclusive(sys.argv[1]): print('in')"

    def try_in_another_process():
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            env=tiny_study.ENVIRONMENT,
        )

    with exclusive(tmp_path):
        refused = try_in_another_process()
    assert refused.returncode == 1
    assert "is in use by another run; wait for it or choose another" in refused.stderr
    assert try_in_another_process().stdout == "in\n"


def test_out_that_is_a_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("words")
    with (
        pytest.raises(NotADirectoryError, match=r"--out .*precious is a file; give a folder"),
        exclusive(path),
    ):
        pass
    assert path.read_text() == "words"


def test_out_that_cannot_be_made_is_refused_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OSError, match=r"--out .*file/out cannot be written \(Not a directory\)"),
        exclusive(tmp_path / "file" / "out"),
    ):
        pass


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_out_without_permission_is_refused_with_the_reason(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with (
        pytest.raises(OSError, match=r"cannot be written \(Permission denied\)"),
        exclusive(Path(folder)),
    ):
        pass
