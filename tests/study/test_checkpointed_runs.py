"""Networks that are trained once: a stopped training resumes as if it had never stopped."""

import shutil
import time
from contextlib import contextmanager
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.storage import Artifacts
from gsu_jax.study import Recipe
from gsu_jax.study import _checkpointed_runs as runs
from gsu_jax.study._checkpointed_runs import Network, named_key, read_trained, train_missing

DATA = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def init(key):
    return {"kernel": jax.random.normal(key, (6, 6))}


def loss(params, batch, key):
    noise = 0.1 * jax.random.normal(key, batch.shape)
    return jnp.mean((jnp.tanh((batch + noise) @ params["kernel"]) - batch) ** 2)


NETWORK = Network("net", init, loss, Recipe(epochs=4, batch_size=20), {"data": "ab12"})


@pytest.fixture
def store(tmp_path):
    return Artifacts(tmp_path)


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory):
    """The store and the networks of seeds 0 to 2, trained together, and the wall seconds."""
    store, start = Artifacts(tmp_path_factory.mktemp("unstopped")), time.perf_counter()
    networks = train_missing(store, NETWORK, DATA, range(3))
    return store, networks, time.perf_counter() - start


def assert_same_bits(found, expected, seeds=range(3)):
    assert found.keys() == set(seeds)
    for seed in seeds:
        np.testing.assert_array_equal(found[seed].params["kernel"], expected[seed].params["kernel"])


class Stopped(Exception):
    pass


@contextmanager
def calls_to(name, at_most, module=runs):
    """Raises `Stopped` at a further call of `module.name`."""
    original, calls = getattr(module, name), []

    def counted(*arguments, **options):
        if len(calls) == at_most:
            raise Stopped
        calls.append(1)
        return original(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, counted)
        yield


# Stopped trainings


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_stopped_training_resumes_after_its_last_finished_epoch(
    store, unstopped, monkeypatch, epoch
):
    monkeypatch.setattr(runs, "SAVE_EVERY", 0.0)
    with pytest.raises(Stopped), calls_to("train_epoch", epoch):
        train_missing(store, NETWORK, DATA, range(3))
    assert store.has("net-in-training") == (epoch > 0)
    with calls_to("train_epoch", at_most=4 - epoch):
        again = train_missing(store, NETWORK, DATA, range(3))
    assert_same_bits(again, unstopped[1])
    assert not store.has("net-in-training")


def test_resumed_training_adds_up_its_times(store, monkeypatch):
    monkeypatch.setattr(runs, "SAVE_EVERY", 0.0)
    with pytest.raises(Stopped), calls_to("train_epoch", 2):
        train_missing(store, NETWORK, DATA, range(3))
    times = {"seconds": 3000.0, "compile_seconds": 1500.0}
    facts = store.facts("net-in-training", NETWORK.made_with) | times
    keys = jnp.stack([named_key("net", seed) for seed in range(3)])
    like = jax.eval_shape(lambda: runs.start_training(init, NETWORK.recipe, keys)[:2])
    state = store.load("net-in-training", like)
    store.save("net-in-training", state, facts, NETWORK.made_with)
    network = train_missing(store, NETWORK, DATA, range(3))[0]
    assert 1000 < network.seconds < 1100
    assert 500 <= network.compile_seconds < 600


def test_seeds_saved_before_a_stop_are_kept_and_the_missing_ones_get_their_bits(
    store, unstopped, events
):
    # Without a checkpoint of the training, the same group of seeds is trained again.
    with pytest.raises(Stopped), calls_to("save", 1, Artifacts):
        train_missing(store, NETWORK, DATA, range(3))
    assert [store.has(f"net-{seed}") for seed in range(3)] == [True, False, False]
    manifest = store.folder / "checkpoints/net-0/manifest.json"
    first = manifest.read_bytes()
    assert_same_bits(train_missing(store, NETWORK, DATA, range(3)), unstopped[1])
    assert manifest.read_bytes() == first
    # Larger networks than this one get other bits in another group.
    assert events(store.folder, "epoch")[-1]["seeds"] == [0, 1, 2]


def test_more_seeds_than_a_stopped_training_had_leave_its_bits_as_they_were(
    store, tmp_path, monkeypatch
):
    (tmp_path / "pair").mkdir()
    pair = train_missing(Artifacts(tmp_path / "pair"), NETWORK, DATA, range(2))
    monkeypatch.setattr(runs, "SAVE_EVERY", 0.0)
    with pytest.raises(Stopped), calls_to("train_epoch", 2):
        train_missing(store, NETWORK, DATA, range(2))
    networks = train_missing(store, NETWORK, DATA, range(3))
    assert networks.keys() == {0, 1, 2}
    del networks[2]
    assert_same_bits(networks, pair, range(2))


def test_more_seeds_than_a_cpu_trains_fast_together_are_trained_in_groups(
    store, unstopped, tmp_path, monkeypatch, events
):
    monkeypatch.setattr(runs, "LARGEST_GROUP_ON_CPU", 2)
    networks = train_missing(store, NETWORK, DATA, range(3))
    groups = [event["seeds"] for event in events(store.folder, "epoch")]
    assert groups == [[0, 1]] * 4 + [[2]] * 4
    facts = [store.facts(f"net-{seed}", NETWORK.made_with) for seed in range(3)]
    assert [fact["seeds"] for fact in facts] == [[0, 1], [0, 1], [2]]
    for seed in range(3):
        np.testing.assert_allclose(
            networks[seed].params["kernel"], unstopped[1][seed].params["kernel"], rtol=1e-5
        )
    # A group of an earlier release stays together, whatever its size.
    old = Artifacts(shutil.copytree(unstopped[0].folder, tmp_path / "old"))
    old.remove("net-2")
    assert_same_bits(train_missing(old, NETWORK, DATA, range(3)), unstopped[1])


def test_eight_seeds_are_one_group(store):
    assert runs._group(store, NETWORK, range(8), range(8)) == [*range(8)]
    assert runs._group(store, NETWORK, range(10), range(10)) == [*range(8)]


# Finished trainings


def test_finished_networks_are_read_and_not_trained(unstopped, monkeypatch):
    store, networks, _ = unstopped
    monkeypatch.setattr(runs, "train_epoch", None)
    assert_same_bits(train_missing(store, NETWORK, DATA, range(3)), networks)
    network = read_trained(store, NETWORK, 1)
    np.testing.assert_array_equal(network.params["kernel"], networks[1].params["kernel"])
    assert network.steps == 8  # 4 epochs of 2 whole batches


def test_seeds_share_the_time_of_their_common_training(unstopped):
    _, networks, wall = unstopped
    shares = {(network.seconds, network.compile_seconds) for network in networks.values()}
    assert len(shares) == 1
    assert 0 < 3 * sum(shares.pop()) < wall


def test_every_epoch_is_logged_with_the_loss_of_every_seed(unstopped, events):
    logged = events(unstopped[0].folder, "epoch")
    assert [event["epoch"] for event in logged] == [1, 2, 3, 4]
    assert all(event["seeds"] == [0, 1, 2] and len(event["loss"]) == 3 for event in logged)


def test_missing_networks_are_borrowed_with_their_times_or_trained(tmp_path, unstopped):
    lender = Artifacts(shutil.copytree(unstopped[0].folder, tmp_path / "lender"))
    lender.remove("net-2")
    borrower = Artifacts(tmp_path / "out", lender.folder)
    borrower.folder.mkdir()
    networks = train_missing(borrower, NETWORK, DATA, range(3))
    # Seed 2 gets the bits it had beside the others.
    assert_same_bits(networks, unstopped[1])
    same = [networks[seed].seconds == unstopped[1][seed].seconds for seed in range(3)]
    assert same == [True, True, False]


def test_networks_trained_on_other_data_are_not_borrowed(tmp_path, unstopped, events):
    borrower = Artifacts(tmp_path, unstopped[0].folder)
    other = replace(NETWORK, made_with={"data": "cd34"})
    train_missing(borrower, other, DATA, range(3))
    assert [e["part"] for e in events(tmp_path, "not borrowed")] == ["net-0", "net-1", "net-2"]


def test_training_without_epochs_gives_the_initial_parameters(store):
    network = Network("idle", init, loss, Recipe(epochs=0))
    params = train_missing(store, network, DATA, [0])[0].params
    expected = init(jax.random.fold_in(named_key("idle", 0), 0))
    np.testing.assert_allclose(params["kernel"], expected["kernel"], rtol=1e-6)


def test_keys_differ_between_names_and_seeds_and_never_change():
    keys = {
        (name, seed): tuple(jax.random.key_data(named_key(name, seed)).tolist())
        for name in ("before", "retrain", "judge")
        for seed in range(3)
    }
    assert len(set(keys.values())) == 9
    # Other words would change every published figure.
    assert keys["before", 0] == (4222350027, 1663223450)


def test_ctrl_c_keeps_the_finished_epochs(store, unstopped, monkeypatch):
    train, epochs = runs.train_epoch, []

    def interrupted(*arguments):
        if len(epochs) == 2:
            raise KeyboardInterrupt
        epochs.append(1)
        return train(*arguments)

    monkeypatch.setattr(runs, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_missing(store, NETWORK, DATA, range(3))
    assert store.facts("net-in-training", NETWORK.made_with)["epoch"] == 2
    monkeypatch.setattr(runs, "train_epoch", train)
    assert_same_bits(train_missing(store, NETWORK, DATA, range(3)), unstopped[1])


@pytest.mark.parametrize(("seeds", "said"), [([0], "seed 0"), ([0, 2], "seeds 0, 2")])
def test_progress_names_one_seed_or_several(store, monkeypatch, seeds, said):
    notes = []

    @contextmanager
    def stage(*_, **__):
        yield lambda done, note="": notes.append(note)

    monkeypatch.setattr(runs, "stage", stage)
    train_missing(store, NETWORK, DATA, seeds)
    assert notes[0] == said
