"""The cache of decoded images: verified, optional, safe with several processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from gsu_jax.data import clear_cache, load
from gsu_jax.data.sources import _cache as cache

KEY = {"version": 1}
ARRAYS = {"a": np.arange(5000, dtype=np.int32), "b": np.ones((3, 2), bool)}


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for i in range(10):
            Image.fromarray(rng.integers(0, 256, (6, 6), np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "pets"


def entries(folder):
    return sorted(folder.glob("*.npz"))


def leftovers(folder):
    return [file for file in folder.iterdir() if file.suffix == ".tmp"]


def test_arrays_are_read_back_with_their_types(tmp_path):
    path = cache.entry_path(tmp_path, "x", KEY)
    cache.write(path, KEY, {"label": "é"}, ARRAYS)
    header, arrays = cache.read(path, KEY)
    assert header == {"label": "é"}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    with np.load(path, allow_pickle=False) as plain:
        assert set(plain) == {"header", "a", "b"}


def test_another_key_is_another_file(tmp_path):
    path = cache.entry_path(tmp_path, "x", KEY)
    cache.write(path, KEY, None, ARRAYS)
    assert cache.entry_path(tmp_path, "x", {"version": 2}) != path
    assert cache.read(path, {"version": 2}) is None


def test_a_damaged_file_is_detected_and_replaced(pictures, tmp_path, caplog):
    folder = tmp_path / "cache"
    source = load(pictures, cache_dir=folder)
    (entry,) = entries(folder)
    good = entry.read_bytes()
    rng = np.random.default_rng(1)
    positions = [0, len(good) - 1, *rng.integers(0, len(good), 12)]
    damaged = [bytearray(good) for _ in positions]
    for position, data in zip(positions, damaged, strict=True):
        data[position] ^= 1 << int(rng.integers(8))
    damaged += [good[:-1], good[: len(good) // 2], good[:10], b"", good + b"0"]
    for data in damaged:
        entry.write_bytes(data)
        caplog.clear()
        again = load(pictures, cache_dir=folder)
        assert "does not match its hash" in caplog.text
        assert again.fingerprint == source.fingerprint
        np.testing.assert_array_equal(again.train.images, source.train.images)
        caplog.clear()
        load(pictures, cache_dir=folder)
        assert caplog.text == "", "the damaged entry was replaced"


def test_one_changed_pixel_changes_the_fingerprint(pictures, tmp_path):
    source = load(pictures, cache_dir=tmp_path / "cache")
    file = pictures / "cat" / "3.png"
    pixels = np.asarray(Image.open(file)).copy()
    pixels[2, 2] ^= 1
    Image.fromarray(pixels).save(file)
    assert load(pictures, cache_dir=tmp_path / "cache").fingerprint != source.fingerprint


def test_only_a_changed_file_or_option_is_decoded_again(pictures, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    load(pictures, cache_dir=folder)
    load(pictures, cache_dir=folder, image_size=4)
    load(pictures, cache_dir=folder, classes=["dog"])
    assert len(entries(folder)) == 3
    os.utime(pictures / "cat" / "0.png", (1, 1))
    load(pictures, cache_dir=folder)
    assert len(entries(folder)) == 4
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert len(load(pictures, cache_dir=folder).train) == 16


def test_a_killed_writer_leaves_no_entry(pictures, tmp_path):
    folder = tmp_path / "cache"
    program = (
        "import os, signal\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from gsu_jax.data import load\n"
        f"load({str(pictures)!r}, cache_dir={str(folder)!r})\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert entries(folder) == []
    (leftover,) = leftovers(folder)
    source = load(pictures, cache_dir=folder)
    assert load(pictures, cache_dir=folder).fingerprint == source.fingerprint
    assert leftovers(folder) == [leftover], "it may belong to a writer at work"
    other = folder / "notes.tmp"
    other.write_text("not ours")
    hours_ago = time.time() - 7200
    for file in (leftover, other):
        os.utime(file, (hours_ago, hours_ago))
    load(pictures, cache_dir=folder, image_size=4)
    assert leftovers(folder) == [other]


def write_often(path):
    for _ in range(15):
        cache.write(path, KEY, {"by": os.getpid()}, ARRAYS)


def test_several_processes_may_write_and_read_at_once(tmp_path, caplog):
    path = cache.entry_path(tmp_path, "x", KEY)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_often, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    read_by = set()
    while any(writer.is_alive() for writer in writers):
        entry = cache.read(path, KEY)
        if entry is not None:
            read_by.add(entry[0]["by"])
            np.testing.assert_array_equal(entry[1]["a"], ARRAYS["a"])
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert cache.read(path, KEY) is not None
    assert caplog.text == ""
    assert leftovers(tmp_path) == []


def test_an_unwritable_cache_logs_one_line(pictures, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    source = load(pictures, cache_dir=tmp_path / "file" / "cache")
    assert len(source.train) == 16
    assert len(caplog.records) == 1
    assert "cache_dir= or GSU_JAX_CACHE_DIR" in caplog.text


def test_a_full_disk_leaves_nothing_behind(pictures, tmp_path, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert len(load(pictures, cache_dir=tmp_path / "cache").train) == 16
    assert "No space left on device" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_folder_comes_from_argument_environment_or_xdg(tmp_path, monkeypatch):
    monkeypatch.setenv("GSU_JAX_CACHE_DIR", str(tmp_path / "env"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder(tmp_path / "given") == tmp_path / "given"
    assert cache.cache_folder() == tmp_path / "env"
    monkeypatch.delenv("GSU_JAX_CACHE_DIR")
    assert cache.cache_folder() == tmp_path / "xdg" / "gsu_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "gsu_jax"


@pytest.fixture
def full_cache(pictures, tmp_path):
    """Three entries of one folder, one of a folder with a longer name, the digits, and a note."""
    folder = tmp_path / "cache"
    pictures.rename(tmp_path / "my pets")
    load(tmp_path / "my pets", cache_dir=folder)
    load(tmp_path / "my pets", cache_dir=folder, image_size=4)
    os.utime(tmp_path / "my pets" / "cat" / "0.png", (1, 1))
    load(tmp_path / "my pets", cache_dir=folder, holdout=0)
    (tmp_path / "my pets").rename(tmp_path / "my pets-2")
    load(tmp_path / "my pets-2", cache_dir=folder)
    load("digits", cache_dir=folder)
    (folder / "notes.npz").write_text("not ours")
    return folder


def prefixes(paths):
    return sorted(path.name.rsplit("-", 1)[0] for path in paths)


def test_cleared_images_leave_no_copy_even_if_their_folder_is_gone(full_cache, tmp_path):
    stem = next(full_cache.glob(f"my_pets-{'[0-9a-f]' * 16}.npz")).stem
    (full_cache / f"{stem}abc{cache.TEMPORARY}").write_text("of a killed writer")
    removed = clear_cache(tmp_path / "my pets", full_cache)
    assert prefixes(removed) == ["my_pets"] * 4
    assert not any(path.exists() for path in removed)
    assert prefixes(full_cache.iterdir()) == ["digits", "my_pets-2", "notes.npz"]
    assert clear_cache(tmp_path / "my pets", full_cache) == []


def test_a_source_clears_its_own_copies(full_cache, tmp_path):
    source = load(tmp_path / "my pets-2", cache_dir=full_cache)
    assert prefixes(clear_cache(source, full_cache)) == ["my_pets-2"]
    assert load("digits", cache_dir=full_cache).train.images.shape == (1_438, 8, 8, 1)


def test_without_a_name_the_whole_cache_is_cleared_and_nothing_else(
    full_cache, tmp_path, monkeypatch
):
    monkeypatch.setenv("GSU_JAX_CACHE_DIR", str(full_cache))
    assert len(clear_cache()) == 5
    assert [path.name for path in full_cache.iterdir()] == ["notes.npz"]
    monkeypatch.setenv("GSU_JAX_CACHE_DIR", str(tmp_path / "nowhere"))
    assert clear_cache() == []


def test_images_in_use_outlive_their_cleared_entry(pictures, tmp_path):
    source = load(pictures, cache_dir=tmp_path / "cache")
    before = source.train.images.copy()
    clear_cache(source, tmp_path / "cache")
    np.testing.assert_array_equal(source.train.images, before)
    assert load(pictures, cache_dir=tmp_path / "cache").fingerprint == source.fingerprint


def test_only_a_name_a_path_or_a_source_is_cleared(tmp_path):
    with pytest.raises(TypeError, match=r"name must be.*got Dataset"):
        clear_cache(load("digits", cache_dir=tmp_path).train, tmp_path)
