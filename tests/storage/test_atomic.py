"""`write_whole`: a file is replaced in one step, or left as it was."""

import os

import pytest

from gsu_jax.storage import write_whole


def test_text_and_bytes_replace_a_file(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for content in ("ré", b"\x00\xff"):
        write_whole(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("operation", ["fsync", "replace", "chmod"])
def test_failed_write_keeps_the_earlier_file_and_names_it(tmp_path, monkeypatch, operation):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    write_whole(tmp_path / "a.txt", "earlier")
    monkeypatch.setattr(os, operation, full)
    with pytest.raises(OSError, match=r"a\.txt: No space left on device"):
        write_whole(tmp_path / "a.txt", "later")
    assert (tmp_path / "a.txt").read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
