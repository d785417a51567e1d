"""Networks that are kept: a stopped training goes on as if nothing had happened."""

import json
import time
from contextlib import contextmanager
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.study import Recipe
from gsu_jax.study import _checkpointed_runs as trained
from gsu_jax.study._checkpointed_runs import Network, part_key, read_trained, train_missing
from gsu_jax.study._workspace import Workspace

DATA = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def init(key):
    return {"kernel": jax.random.normal(key, (6, 6))}


def loss(params, batch, key):
    noise = 0.1 * jax.random.normal(key, batch.shape)
    return jnp.mean((jnp.tanh((batch + noise) @ params["kernel"]) - batch) ** 2)


NETWORK = Network("net", init, loss, Recipe(epochs=4, batch_size=20))


@pytest.fixture
def workspace(tmp_path):
    return new_workspace(tmp_path / "out")


def new_workspace(folder, seeds=3, lender=None):
    folder.mkdir(exist_ok=True)
    config = {"methods": {}, "seeds": seeds}
    results = {"schema": 1, "experiment": "test", "config": config, "rows": []}
    return Workspace(folder, results, lender)


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory):
    """The kernels of seeds 0 to 2 that were trained together without a break."""
    workspace = new_workspace(tmp_path_factory.mktemp("unstopped"))
    return kernels(train_missing(workspace, NETWORK, DATA, range(3)))


def kernels(networks):
    return {seed: np.asarray(network.params["kernel"]) for seed, network in networks.items()}


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for seed, kernel in found.items():
        np.testing.assert_array_equal(kernel, expected[seed])


class Stopped(Exception):
    pass


@contextmanager
def calls_to(function, module, at_most):
    """After so many calls of `module.function`, the next one raises `Stopped`."""
    original, calls = getattr(module, function), []

    def counted(*arguments, **options):
        if len(calls) == at_most:
            raise Stopped
        calls.append(1)
        return original(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, function, counted)
        yield


@contextmanager
def stopped_after(count, function="train_epoch", module=trained):
    """The block must be stopped so."""
    with pytest.raises(Stopped), calls_to(function, module, count):
        yield


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_training_stopped_in_an_epoch_goes_on_after_the_last_finished_one(
    workspace, unstopped, monkeypatch, epoch
):
    monkeypatch.setattr(trained, "SAVE_EVERY", 0.0)
    with stopped_after(epoch):
        train_missing(workspace, NETWORK, DATA, range(3))
    assert workspace.has_part("net-in-training") == (epoch > 0)
    with calls_to("train_epoch", trained, at_most=4 - epoch):
        again = train_missing(workspace, NETWORK, DATA, range(3))
    assert_same_bits(kernels(again), unstopped)
    assert not workspace.has_part("net-in-training")


def test_resumed_training_adds_its_times_up(workspace, monkeypatch):
    monkeypatch.setattr(trained, "SAVE_EVERY", 0.0)
    with stopped_after(2):
        train_missing(workspace, NETWORK, DATA, [0])
    facts = workspace.part_facts("net-in-training", {}) | {
        "seconds": 1000.0,
        "compile_seconds": 500.0,
    }
    like = jax.eval_shape(
        lambda: trained.start_training(init, NETWORK.recipe, part_key("net", 0)[None])[:2]
    )
    state = workspace.load_part("net-in-training", like)
    workspace.save_part("net-in-training", state, facts, {})
    network = train_missing(workspace, NETWORK, DATA, [0])[0]
    assert 1000 < network.seconds < 1100
    assert 500 <= network.compile_seconds < 600


def test_seeds_that_were_saved_before_a_stop_are_kept_and_the_others_get_their_bits(
    workspace, unstopped
):
    # No checkpoint of the training: it is done again, by the seeds that were together.
    with stopped_after(1, "save_part", Workspace):
        train_missing(workspace, NETWORK, DATA, range(3))
    assert [workspace.has_part(f"net-{seed}") for seed in range(3)] == [True, False, False]
    first = (workspace.folder / "checkpoints/net-0/manifest.json").read_bytes()
    assert_same_bits(kernels(train_missing(workspace, NETWORK, DATA, range(3))), unstopped)
    assert (workspace.folder / "checkpoints/net-0/manifest.json").read_bytes() == first
    # Larger networks than this one get other bits in another group.
    last = (workspace.folder / "log.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["seeds"] == [0, 1, 2]


def test_more_seeds_than_a_stopped_training_had_leave_its_result_as_it_was(
    workspace, tmp_path, monkeypatch
):
    pair = train_missing(new_workspace(tmp_path / "pair"), NETWORK, DATA, range(2))
    monkeypatch.setattr(trained, "SAVE_EVERY", 0.0)
    with stopped_after(2):
        train_missing(workspace, NETWORK, DATA, range(2))
    networks = train_missing(workspace, NETWORK, DATA, range(3))
    assert networks.keys() == {0, 1, 2}
    assert_same_bits({seed: kernels(networks)[seed] for seed in (0, 1)}, kernels(pair))


def test_finished_networks_are_read_and_not_trained(workspace, unstopped, monkeypatch):
    train_missing(workspace, NETWORK, DATA, range(3))
    monkeypatch.setattr(trained, "train_epoch", None)
    assert_same_bits(kernels(train_missing(workspace, NETWORK, DATA, range(3))), unstopped)
    network = read_trained(workspace, NETWORK, 1)
    np.testing.assert_array_equal(network.params["kernel"], unstopped[1])
    assert network.steps == 8  # 4 epochs of 2 whole batches


def test_networks_are_borrowed_with_their_times_and_the_others_are_trained(tmp_path, unstopped):
    network = replace(NETWORK, made_with={"data": "ab12"})
    lender = new_workspace(tmp_path / "lender")
    lent = train_missing(lender, network, DATA, range(3))
    lender.remove_part("net-2")
    borrower = new_workspace(tmp_path / "out", lender=lender.folder)
    networks = train_missing(borrower, network, DATA, range(3))
    # Seed 2 gets the bits it had beside the others.
    assert_same_bits(kernels(networks), unstopped)
    assert [networks[seed].seconds == lent[seed].seconds for seed in range(3)] == [
        True,
        True,
        False,
    ]


def test_networks_trained_otherwise_are_not_borrowed(tmp_path, unstopped):
    lender = new_workspace(tmp_path / "lender")
    train_missing(lender, replace(NETWORK, made_with={"data": "other"}), DATA + 1, range(3))
    borrower = new_workspace(tmp_path / "out", lender=lender.folder)
    assert_same_bits(kernels(train_missing(borrower, NETWORK, DATA, range(3))), unstopped)


def test_seconds_of_seeds_trained_together_are_wall_time_over_seeds(workspace):
    start = time.perf_counter()
    networks = train_missing(workspace, NETWORK, DATA, range(3))
    wall = time.perf_counter() - start
    shares = {(network.seconds, network.compile_seconds) for network in networks.values()}
    assert len(shares) == 1
    assert 0 < 3 * sum(shares.pop()) < wall


def test_every_epoch_is_logged_with_the_loss_of_every_seed(workspace):
    train_missing(workspace, NETWORK, DATA, range(3))
    lines = (workspace.folder / "log.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert all('"seeds": [0, 1, 2]' in line for line in lines)


def test_training_without_epochs_gives_the_initial_parameters(workspace):
    network = Network("idle", init, loss, Recipe(epochs=0))
    params = train_missing(workspace, network, DATA, [0])[0].params
    expected = init(jax.random.fold_in(part_key("idle", 0), 0))
    np.testing.assert_allclose(params["kernel"], expected["kernel"], rtol=1e-6)


def test_keys_differ_between_parts_and_seeds_and_stay_from_run_to_run():
    keys = {
        (name, seed): tuple(jax.random.key_data(part_key(name, seed)).tolist())
        for name in ("before", "retrain", "judge")
        for seed in range(3)
    }
    assert len(set(keys.values())) == 9
    # A change of these words would change every published figure.
    assert keys["before", 0] == (4222350027, 1663223450)
