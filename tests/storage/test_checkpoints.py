"""Checkpoints: what comes back, and what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsu_jax import storage
from gsu_jax.storage import CheckpointError, _checkpoints, _orbax_io
from gsu_jax.storage._manifest import MANIFEST, write_manifest


@pytest.mark.parametrize("abstract", [False, True])
def test_parameters_and_optimizer_state_come_back_bit_for_bit(
    tmp_path, small_tree, assert_same_bits, abstract
):
    params = small_tree()["params"]
    params["odd"] = jnp.array([np.nan, -0.0, np.inf, 1e-42], jnp.float32)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(1e-3, 10))
    )
    state = optimizer.init({"decoder": params["decoder"], "odd": params["odd"]})
    tree = {"params": params, "optimizer": state, "none": None, "zero": {}}
    storage.save(tmp_path / "c", tree)
    found = storage.load(tmp_path / "c", jax.eval_shape(lambda: tree) if abstract else tree)
    assert_same_bits(found, tree)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


def test_numpy_leaves_numbers_and_empty_arrays_come_back(tmp_path):
    tree = {"x": np.arange(3.0), "n": 5, "empty": np.zeros((0, 3)), "deep": {"empty": jnp.ones(0)}}
    storage.save(tmp_path / "c", tree)
    found = storage.load(tmp_path / "c", tree)
    assert found["x"].dtype == np.float64
    assert isinstance(found["x"], np.ndarray)
    assert found["n"] == 5
    assert found["empty"].shape == (0, 3)
    storage.save(tmp_path / "none", {})
    assert storage.load(tmp_path / "none", {}) == {}


def test_tree_is_restored_on_the_sharding_of_like(tmp_path):
    sharding = jax.NamedSharding(jax.make_mesh((jax.device_count(),), ("d",)), jax.P("d"))
    array = jax.device_put(jnp.arange(8 * jax.device_count(), dtype=jnp.float32), sharding)
    storage.save(tmp_path / "c", {"x": array})
    like = {"x": jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)}
    found = storage.load(tmp_path / "c", like)["x"]
    assert found.sharding == sharding
    np.testing.assert_array_equal(found, array)


def test_metadata_comes_back_without_orbax(tmp_path, small_tree, monkeypatch):
    metadata = {"config": {"epochs": 60, "widths": [400, 400]}, "seconds": 1.5, "name": "ré"}
    storage.save(tmp_path / "c", small_tree(), metadata=metadata)
    monkeypatch.setattr(_orbax_io, "_orbax", None)
    assert storage.exists(tmp_path / "c")
    assert storage.read_metadata(tmp_path / "c") == metadata


def test_second_save_replaces_the_checkpoint_and_prints_nothing(
    tmp_path, small_tree, assert_same_bits, capfd
):
    storage.save(tmp_path / "c", small_tree(0), metadata={"n": 0})
    (tmp_path / "c" / "data-left.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "c" / f".{MANIFEST}.draft").touch()
    storage.save(tmp_path / "c", small_tree(1), metadata={"n": 1})
    assert_same_bits(storage.load(tmp_path / "c", small_tree()), small_tree(1))
    assert storage.read_metadata(tmp_path / "c") == {"n": 1}
    assert len(list((tmp_path / "c").iterdir())) == 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_interruption_after_the_manifest_leaves_the_new_checkpoint_whole(
    tmp_path, small_tree, assert_same_bits, monkeypatch, stop
):
    def written_then_stopped(*arguments):
        write_manifest(*arguments)
        raise stop

    storage.save(tmp_path / "c", {"old": np.ones(2)})
    monkeypatch.setattr(_checkpoints, "write_manifest", written_then_stopped)
    with pytest.raises(stop):
        storage.save(tmp_path / "c", small_tree(1))
    assert_same_bits(storage.load(tmp_path / "c", small_tree()), small_tree(1))


def test_removed_checkpoint_is_gone(tmp_path):
    storage.save(tmp_path / "c", {"x": 1})
    for _ in range(2):
        storage.remove(tmp_path / "c")
        assert not storage.exists(tmp_path / "c")
        assert not (tmp_path / "c").exists()


def test_manifest_is_plain_json_that_names_every_leaf(tmp_path, small_tree):
    storage.save(tmp_path / "c", small_tree())
    body = json.loads((tmp_path / "c" / MANIFEST).read_text())["body"]
    assert body["leaves"]["params/decoder/kernel"]["shape"] == [4, 6]
    assert body["leaves"]["params/encoder/0"]["dtype"] == "bfloat16"


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {**t, "extra": jnp.ones(2)}, "'extra'"),
        (lambda t: {"params": t["params"]}, "'mask'"),
        (lambda t: {**t, "mask": np.ones(3, bool)}, r"'mask'.*bool\[2\].*bool\[3\]"),
        (
            lambda t: {**t, "params": jax.tree.map(lambda x: x.astype(jnp.float32), t["params"])},
            r"'params/encoder/0'.*bfloat16\[3\].*float32\[3\]",
        ),
    ],
)
def test_another_tree_is_refused_by_leaf_path(tmp_path, small_tree, change, message):
    storage.save(tmp_path / "c", small_tree())
    with pytest.raises(ValueError, match=message):
        storage.load(tmp_path / "c", change(small_tree()))


@pytest.mark.parametrize(
    ("tree", "metadata", "error", "message"),
    [
        (lambda: {"a": np.array(["x"])}, None, TypeError, "'a'.*dtype"),
        (lambda: {"a": np.array([None])}, None, TypeError, "'a'.*dtype object"),
        (lambda: {"a": "text"}, None, TypeError, "'a'"),
        (lambda: {"k": jax.random.key(0)}, None, TypeError, "'k'.*key_data"),
        (lambda: {"a": {"b": 1}, "a/b": 2}, None, ValueError, "path"),
        (lambda: {"a": 1}, {"x": float("nan")}, ValueError, "metadata.*finite"),
        (lambda: {"a": 1}, {"x": object()}, TypeError, "metadata.*JSON"),
        (lambda: {"a": 1}, [1], TypeError, "metadata.*got list"),
    ],
)
def test_unsupported_leaves_and_metadata_are_refused(tmp_path, tree, metadata, error, message):
    with pytest.raises(error, match=message):
        storage.save(tmp_path / "c", tree(), metadata=metadata)
    assert not (tmp_path / "c").exists()


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match=r"'thesis\.tex'"):
        storage.save(tmp_path, {"x": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "c", tmp_path / "file"):
        with pytest.raises(OSError, match=str(path)):
            storage.save(path, {"x": 1})


def test_newer_format_names_both_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoints, "VERSION", 2)
    storage.save(tmp_path / "c", {"x": 1})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"version 2.*reads 1"):
        storage.load(tmp_path / "c", {"x": 1})


def test_tree_without_like_comes_back_as_nested_dicts(tmp_path, small_tree):
    tree = small_tree()
    storage.save(tmp_path / "c", tree)
    found = storage.load(tmp_path / "c")
    assert found.keys() == tree.keys()
    assert found["params"]["encoder"].keys() == {0, 1}
    np.testing.assert_array_equal(found["params"]["encoder"][1], [0, 1, 2])
    assert found["params"]["encoder"][0].dtype == jnp.bfloat16
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))
    storage.save(tmp_path / "array", jnp.ones(3))
    assert storage.load(tmp_path / "array").tolist() == [1, 1, 1]
