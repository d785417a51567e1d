"""Claims about `gsu_jax.storage`."""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsu_jax.storage import CheckpointError
from gsu_jax.storage import _checkpoints as checkpoints
from gsu_jax.storage._manifest import MANIFEST


def small_tree(seed=0, width=6):
    key = jax.random.key(seed)
    params = {
        "decoder": {"kernel": jax.random.normal(key, (4, width)), "bias": jnp.zeros(width)},
        "encoder": (jax.random.normal(key, (3,)).astype(jnp.bfloat16), jnp.arange(3)),
    }
    return {"params": params, "step": np.int64(7), "mask": np.array([True, False])}


def assert_same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("abstract", [False, True])
def test_optax_states_and_parameters_come_back_bit_for_bit(tmp_path, abstract):
    params = small_tree()["params"]
    params["odd"] = jnp.array([np.nan, -0.0, np.inf, 1e-42], jnp.float32)
    floats = {"decoder": params["decoder"], "odd": params["odd"]}
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(1e-3, 10))
    )
    tree = {"params": params, "optimiser": optimiser.init(floats), "none": None, "zero": {}}
    checkpoints.save(tmp_path / "c", tree)
    like = jax.eval_shape(lambda: tree) if abstract else tree
    found = checkpoints.load(tmp_path / "c", like)
    assert_same(found, tree)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


def test_numpy_leaves_numbers_and_arrays_without_elements_come_back(tmp_path):
    tree = {"x": np.arange(3.0), "n": 5, "empty": np.zeros((0, 3)), "deep": {"empty": jnp.ones(0)}}
    checkpoints.save(tmp_path / "c", tree)
    found = checkpoints.load(tmp_path / "c", tree)
    assert found["x"].dtype == np.float64
    assert isinstance(found["x"], np.ndarray)
    assert found["n"] == 5
    assert found["empty"].shape == (0, 3)
    checkpoints.save(tmp_path / "none", {})
    assert checkpoints.load(tmp_path / "none", {}) == {}


def test_a_tree_is_restored_on_the_sharding_asked_for(tmp_path):
    mesh = jax.make_mesh((jax.device_count(),), ("d",))
    sharding = jax.NamedSharding(mesh, jax.P("d"))
    array = jax.device_put(jnp.arange(8 * jax.device_count(), dtype=jnp.float32), sharding)
    checkpoints.save(tmp_path / "c", {"x": array})
    like = {"x": jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)}
    found = checkpoints.load(tmp_path / "c", like)["x"]
    assert found.sharding == sharding
    np.testing.assert_array_equal(found, array)


def test_metadata_comes_back_and_is_read_without_orbax(tmp_path):
    metadata = {"config": {"epochs": 60, "widths": [400, 400]}, "seconds": 1.5, "name": "ré"}
    checkpoints.save(tmp_path / "c", small_tree(), metadata=metadata)
    code = (
        "import sys; from gsu_jax import storage as c; "
        f"print(c.exists({str(tmp_path / 'c')!r}), c.read_metadata({str(tmp_path / 'c')!r})"
        f" == {metadata!r}, 'orbax' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["True", "True", "False"]
    assert out.stderr == ""


def test_saving_and_loading_print_nothing(tmp_path, capfd):
    for _ in range(2):
        checkpoints.save(tmp_path / "c", small_tree())
        checkpoints.load(tmp_path / "c", small_tree())
    assert capfd.readouterr() == ("", "")


def test_a_save_replaces_the_previous_checkpoint_and_leaves_no_litter(tmp_path):
    checkpoints.save(tmp_path / "c", small_tree(0), metadata={"n": 0})
    (tmp_path / "c" / "data-left.orbax-checkpoint-tmp").mkdir()
    checkpoints.save(tmp_path / "c", small_tree(1), metadata={"n": 1})
    assert_same(checkpoints.load(tmp_path / "c", small_tree()), small_tree(1))
    assert checkpoints.read_metadata(tmp_path / "c") == {"n": 1}
    assert len(list((tmp_path / "c").iterdir())) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {**t, "extra": jnp.ones(2)}, "has no leaf 'extra'"),
        (lambda t: {"params": t["params"]}, "has a leaf 'mask' that is not asked for"),
        (lambda t: {**t, "mask": np.ones(3, bool)}, r"'mask' was saved as bool\[2\].*bool\[3\]"),
        (
            lambda t: {**t, "params": jax.tree.map(lambda x: x.astype(jnp.float32), t["params"])},
            r"'params/encoder/0' was saved as bfloat16\[3\], asked for is float32\[3\]",
        ),
    ],
)
def test_another_tree_is_refused_by_leaf_path(tmp_path, change, message):
    checkpoints.save(tmp_path / "c", small_tree())
    with pytest.raises(ValueError, match=message) as caught:
        checkpoints.load(tmp_path / "c", change(small_tree()))
    assert "elete this folder" in str(caught.value)


def flip_one_bit(data, random):
    flipped = bytearray(data)
    flipped[random.integers(len(data))] ^= 1 << random.integers(8)
    return bytes(flipped)


def test_a_flipped_bit_in_any_file_is_found(tmp_path, capfd):
    tree = {"w": jax.random.normal(jax.random.key(0), (64, 64)), "b": jnp.ones(5, jnp.bfloat16)}
    checkpoints.save(tmp_path / "c", tree)
    random = np.random.default_rng(0)
    files = [p for p in (tmp_path / "c").rglob("*") if p.is_file() and p.stat().st_size]
    assert max(p.stat().st_size for p in files) > 10_000
    for file in files:
        whole = file.read_bytes()
        for _ in range(10):
            file.write_bytes(flip_one_bit(whole, random))
            with pytest.raises(CheckpointError, match="elete this folder to have it made again"):
                checkpoints.load(tmp_path / "c", tree)
        file.write_bytes(whole)
    assert_same(checkpoints.load(tmp_path / "c", tree), tree)
    assert capfd.readouterr() == ("", "")


def test_an_array_that_orbax_misreads_is_found(tmp_path, monkeypatch):
    # The second line of defence: the files are whole, the array that comes back is not.
    tree = {"w": np.arange(6.0), "b": np.ones(2)}
    checkpoints.save(tmp_path / "c", tree)
    random = np.random.default_rng(0)

    class Orbax:
        @staticmethod
        def load(_, like):
            flipped = np.frombuffer(flip_one_bit(tree["w"].tobytes(), random))
            return {**{name: tree[name] for name in like}, "w": flipped}

    monkeypatch.setattr(checkpoints, "_orbax", lambda: Orbax)
    with pytest.raises(CheckpointError, match="leaf 'w' are not those that were saved"):
        checkpoints.load(tmp_path / "c", tree)


def test_a_changed_manifest_is_found(tmp_path):
    checkpoints.save(tmp_path / "c", small_tree(), metadata={"epochs": 60})
    manifest = tmp_path / "c" / MANIFEST
    manifest.write_text(manifest.read_text().replace("60", "61"))
    with pytest.raises(CheckpointError, match="not as it was written"):
        checkpoints.read_metadata(tmp_path / "c")


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"body": {}}', "null", '{"a": 1}'])
def test_a_foreign_or_cut_off_manifest_is_a_checkpoint_error(tmp_path, content):
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(CheckpointError, match="Delete this folder to have it made again"):
        checkpoints.load(tmp_path, small_tree())


def test_missing_files_are_a_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoints.load(tmp_path / "nowhere", small_tree())
    (tmp_path / "foreign").mkdir()
    with pytest.raises(CheckpointError, match="no finished checkpoint"):
        checkpoints.load(tmp_path / "foreign", small_tree())
    assert not checkpoints.exists(tmp_path / "foreign")
    checkpoints.save(tmp_path / "c", small_tree())
    for file in (tmp_path / "c").rglob("data-*/**/*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(CheckpointError, match="is missing or changed"):
        checkpoints.load(tmp_path / "c", small_tree())


def test_a_newer_format_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "VERSION", 2)
    checkpoints.save(tmp_path / "c", small_tree())
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format version 2"):
        checkpoints.load(tmp_path / "c", small_tree())


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, capfd):
    checkpoints.save(tmp_path / "c", small_tree())
    big = {"x": np.random.default_rng(0).standard_normal(500_000)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write checkpoint .* as it was"):
            checkpoints.save(tmp_path / "c", big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    gc.collect()
    assert capfd.readouterr() == ("", "")
    assert_same(checkpoints.load(tmp_path / "c", small_tree()), small_tree())
    assert len(list((tmp_path / "c").iterdir())) == 2


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write checkpoint"):
        checkpoints.save(tmp_path / "file" / "c", small_tree())
    with pytest.raises(OSError, match="cannot write checkpoint"):
        checkpoints.save(tmp_path / "file", small_tree())


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match=r"holds 'thesis\.tex'"):
        checkpoints.save(tmp_path, small_tree())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("tree", "metadata", "error", "message"),
    [
        ({"a": np.array(["x"])}, None, TypeError, "leaf 'a' has dtype"),
        ({"a": np.array([None])}, None, TypeError, "leaf 'a' has dtype object"),
        ({"a": "text"}, None, TypeError, "leaf 'a'"),
        ({"k": jax.random.key(0)}, None, TypeError, "key_data"),
        ({"a": {"b": 1}, "a/b": 2}, None, ValueError, "share one path"),
        ({"a": 1}, {"x": float("nan")}, ValueError, "finite"),
        ({"a": 1}, {"x": object()}, TypeError, "fit JSON"),
        ({"a": 1}, [1], TypeError, "must be a dict"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_named(tmp_path, tree, metadata, error, message):
    with pytest.raises(error, match=message):
        checkpoints.save(tmp_path / "c", tree, metadata=metadata)
    assert not (tmp_path / "c").exists()


WRITER = """
import sys, numpy as np
from gsu_jax import storage as checkpoints
for n in range(10_000):
    checkpoints.save(sys.argv[1], {"x": np.full(50_000, n, np.float32)}, metadata={"n": n})
    print(n, flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    like = {"x": np.zeros(50_000, np.float32)}
    random = np.random.default_rng(0)
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "c")], stdout=subprocess.PIPE, text=True
        )
        with writer:
            for _ in range(3):
                done = int(writer.stdout.readline())
            time.sleep(random.uniform(0, 0.05))
            writer.send_signal(signal.SIGKILL)
        found = checkpoints.load(tmp_path / "c", like)["x"]
        n = checkpoints.read_metadata(tmp_path / "c")["n"]
        assert n >= done
        assert (found == n).all()


def test_a_kill_before_each_file_operation_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    checkpoints.save(tmp_path / "c", small_tree(0))
    for target, name in [(os, "replace"), (os, "fsync"), (checkpoints, "_write_manifest")]:
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "_remove_data", killed)
            patch.setattr(target, name, killed)
            with pytest.raises(Killed):
                checkpoints.save(tmp_path / "c", small_tree(1))
        assert_same(checkpoints.load(tmp_path / "c", small_tree()), small_tree(0))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_remove_data", killed)
        with pytest.raises(Killed):
            checkpoints.save(tmp_path / "c", small_tree(1))
    assert_same(checkpoints.load(tmp_path / "c", small_tree()), small_tree(1))
    checkpoints.save(tmp_path / "c", small_tree(2))
    assert len(list(Path(tmp_path / "c").iterdir())) == 2


def test_the_manifest_is_plain_json_that_names_every_leaf(tmp_path):
    checkpoints.save(tmp_path / "c", small_tree())
    body = json.loads((tmp_path / "c" / MANIFEST).read_text())["body"]
    assert body["leaves"]["params/decoder/kernel"]["shape"] == [4, 6]
    assert body["leaves"]["params/encoder/0"]["dtype"] == "bfloat16"
