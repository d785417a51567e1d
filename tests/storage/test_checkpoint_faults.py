"""Checkpoints under faults: flipped bits, cut-off files, full disks, kills."""

import gc
import os
import resource
import signal
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study

from gsu_jax import storage
from gsu_jax.storage import CheckpointError, _checkpoints, _orbax_io
from gsu_jax.storage._manifest import MANIFEST


def flip_one_bit(data, random):
    flipped = bytearray(data)
    flipped[random.integers(len(data))] ^= 1 << random.integers(8)
    return bytes(flipped)


def test_missing_orbax_is_no_damage_and_no_full_disk(tmp_path, monkeypatch):
    storage.save(tmp_path / "c", {"w": jnp.ones(3)})
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"orbax-checkpoint.*pip install"):
        storage.load(tmp_path / "c", {"w": jnp.ones(3)})
    with pytest.raises(ImportError, match=r"orbax-checkpoint.*pip install"):
        storage.save(tmp_path / "d", {"w": jnp.ones(3)})


# Damage


def test_flipped_bit_in_any_file_is_found(tmp_path, assert_same_bits, capfd):
    tree = {"w": jax.random.normal(jax.random.key(0), (64, 64)), "b": jnp.ones(5, jnp.bfloat16)}
    storage.save(tmp_path / "c", tree)
    random = np.random.default_rng(0)
    files = [p for p in (tmp_path / "c").rglob("*") if p.is_file() and p.stat().st_size]
    assert max(p.stat().st_size for p in files) > 10_000
    for file in files:
        whole = file.read_bytes()
        for _ in range(5):
            file.write_bytes(flip_one_bit(whole, random))
            with pytest.raises(CheckpointError, match="delete this folder"):
                storage.load(tmp_path / "c", tree)
        file.write_bytes(whole)
    assert_same_bits(storage.load(tmp_path / "c", tree), tree)
    assert capfd.readouterr() == ("", "")


def test_array_that_orbax_misreads_is_found(tmp_path, monkeypatch):
    # The second line of defense: the files are whole, the array that comes back is not.
    tree = {"w": np.arange(6.0), "b": np.ones(2)}
    storage.save(tmp_path / "c", tree)

    class Orbax:
        @staticmethod
        def load(path, like):
            bits = flip_one_bit(tree["w"].tobytes(), np.random.default_rng(0))
            return {**{name: tree[name] for name in like}, "w": np.frombuffer(bits)}

    monkeypatch.setattr(_orbax_io, "_orbax", lambda: Orbax)
    with pytest.raises(CheckpointError, match="leaf 'w'"):
        storage.load(tmp_path / "c", tree)


def test_changed_manifest_is_found(tmp_path):
    storage.save(tmp_path / "c", {"x": 1}, metadata={"epochs": 60})
    manifest = tmp_path / "c" / MANIFEST
    manifest.write_text(manifest.read_text().replace("60", "61"))
    with pytest.raises(CheckpointError, match=MANIFEST):
        storage.read_metadata(tmp_path / "c")


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"body": {}}', "null", '{"a": 1}'])
def test_foreign_or_cut_off_manifest_is_a_checkpoint_error(tmp_path, content):
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(CheckpointError, match="delete this folder"):
        storage.load(tmp_path, {"x": 1})


def test_missing_files_are_a_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        storage.load(tmp_path / "nowhere", {"x": 1})
    (tmp_path / "foreign").mkdir()
    with pytest.raises(CheckpointError, match="no finished checkpoint"):
        storage.load(tmp_path / "foreign", {"x": 1})
    assert not storage.exists(tmp_path / "foreign")
    storage.save(tmp_path / "c", {"x": 1})
    for file in (tmp_path / "c").rglob("data-*/**/*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        storage.load(tmp_path / "c", {"x": 1})


# Saves that do not end


def test_full_disk_keeps_the_earlier_checkpoint(tmp_path, capfd):
    storage.save(tmp_path / "c", {"x": 1})
    big = {"x": np.random.default_rng(0).standard_normal(500_000)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match=rf"checkpoint {tmp_path}/c: File too large; check free"):
            storage.save(tmp_path / "c", big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    gc.collect()
    assert capfd.readouterr() == ("", "")
    assert storage.load(tmp_path / "c", {"x": 0}) == {"x": 1}
    assert len(list((tmp_path / "c").iterdir())) == 2


def test_writers_that_end_after_a_failed_save_print_nothing(tmp_path, monkeypatch):
    # Those of TensorStore on a full disk find the loop closed, and have no caller to tell.
    def end(words):
        sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError(words)))

    class Orbax:
        @staticmethod
        def save(*_, **__):
            end("Event loop is closed")
            raise OSError("No space left on device")

    said = []
    monkeypatch.setattr(sys, "unraisablehook", hook := said.append)
    with monkeypatch.context() as patch:
        patch.setattr(_orbax_io, "_orbax", lambda: Orbax)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                storage.save(tmp_path / "c", {"x": np.ones(3)})
            end("Event loop is closed")  # a moment later
    assert said == []
    end("mine")
    assert [str(one.exc_value) for one in said] == ["mine"]
    sys.unraisablehook = hook
    storage.save(tmp_path / "c", {"x": np.ones(3)})
    assert sys.unraisablehook is hook


def test_kill_before_each_file_operation_leaves_a_whole_checkpoint(
    tmp_path, small_tree, assert_same_bits, monkeypatch
):
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    path = tmp_path / "c"
    storage.save(path, small_tree(0))
    for target, name in [(os, "replace"), (os, "fsync"), (_checkpoints, "write_manifest")]:
        with monkeypatch.context() as patch:
            patch.setattr(_checkpoints, "_remove_all", killed)
            patch.setattr(target, name, killed)
            with pytest.raises(Killed):
                storage.save(path, small_tree(1))
        assert_same_bits(storage.load(path, small_tree()), small_tree(0))
    with monkeypatch.context() as patch:
        patch.setattr(_checkpoints, "_remove_all", killed)
        with pytest.raises(Killed):
            storage.save(path, small_tree(1))
    assert_same_bits(storage.load(path, small_tree()), small_tree(1))
    storage.save(path, small_tree(2))
    assert len(list(path.iterdir())) == 2


WRITER = """
import sys, numpy as np
from gsu_jax import storage
for n in range(10_000):
    storage.save(sys.argv[1], {"x": np.full(50_000, n, np.float32)}, metadata={"n": n})
    print(n, flush=True)
"""


def test_sigkill_leaves_a_whole_checkpoint(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "c")]
    env = tiny_study.ENVIRONMENT
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as writer:
        for _ in range(3):
            done = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
    found = storage.load(tmp_path / "c", {"x": np.zeros(50_000, np.float32)})["x"]
    n = storage.read_metadata(tmp_path / "c")["n"]
    assert n >= done
    assert (found == n).all()


def test_another_structure_to_load_into_is_no_reason_to_delete(tmp_path):
    storage.save(tmp_path / "c", {"params": {"x": 1}, "history": {"cosine": 2}})
    with pytest.raises(ValueError, match="structure it was saved with") as error:
        storage.load(tmp_path / "c", {"x": 1})
    assert "delete" not in str(error.value)
