import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import count_compilations
from helpers import assert_trees_close, assert_trees_equal
from linear_autoencoder import MODEL, images

from gsu_jax.study import Recipe, start_training, train_epoch
from gsu_jax.study import _pretraining as training
from gsu_jax.study._pretraining import TrainingState

IMAGES = images(0, 50)
RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=1e-2)
KEYS = jnp.stack([jax.random.key(seed) for seed in range(3)])


def noisy_loss(params, images, key):
    return MODEL.loss(params, images, key) * (1 + 0.1 * jax.random.normal(key))


def train(keys, epochs=3, *, loss=noisy_loss, recipe=RECIPE, state=None, data=IMAGES, mesh=None):
    state = start_training(MODEL.init, recipe, keys) if state is None else state
    losses = []
    while state.epoch < epochs:
        state, value = train_epoch(loss, recipe, state, data, keys, mesh)
        losses.append(np.asarray(value))
    return state, np.array(losses)


@pytest.fixture(scope="module")
def trained():
    return train(KEYS)


def test_loss_of_every_seed_falls(trained):
    _, losses = trained
    assert losses.shape == (3, 3)
    assert (losses[-1] < 0.9 * losses[0]).all()


def test_seeds_are_different_runs(trained):
    kernel = trained[0].params["encoder"]["kernel"]
    assert kernel.shape == (3, 4, 3)
    assert np.abs(kernel[0] - kernel[1]).max() > 0.01


def test_seed_trained_with_others_equals_the_seed_alone(trained):
    state, losses = trained
    alone, own_losses = train(KEYS[1:2])
    np.testing.assert_allclose(own_losses[:, 0], losses[:, 1], rtol=1e-5)
    own = jax.tree.map(lambda leaf: leaf[1:2], state[:2])
    assert_trees_close(alone[:2], own, rtol=1e-5, atol=1e-6)


def test_resumed_run_equals_the_uninterrupted_one(trained):
    state, _ = train(KEYS, epochs=2)
    # What a checkpoint gives back: NumPy arrays and plain numbers.
    saved = TrainingState(*jax.tree.map(np.asarray, state[:2]), *state[2:])
    resumed, _ = train(KEYS, state=saved)
    assert_trees_equal(resumed[:2], trained[0][:2])
    assert resumed.epoch == 3


def test_same_keys_give_the_same_run(trained):
    again, losses = train(KEYS)
    assert_trees_equal(again[:2], trained[0][:2])
    assert_trees_equal(losses, trained[1])


def test_epochs_differ_in_order_and_noise():
    state = start_training(MODEL.init, RECIPE, KEYS)
    ours, theirs = (
        train_epoch(noisy_loss, RECIPE, state._replace(epoch=epoch), IMAGES, KEYS)[0].params
        for epoch in (0, 1)
    )
    assert np.abs(ours["encoder"]["kernel"] - theirs["encoder"]["kernel"]).max() > 1e-4


def test_later_epochs_compile_nothing():
    first, _ = train(KEYS, epochs=1)
    with count_compilations() as compiled:
        second, _ = train(KEYS, epochs=2, state=first)
    assert compiled == []
    assert second.seconds > first.seconds > 0
    assert second.compile_seconds == first.compile_seconds
    assert train(KEYS, epochs=1)[0].compile_seconds == 0


def test_epoch_sees_each_example_once_and_drops_the_incomplete_batch():
    def visits(params, batch, key):
        del key
        return params[batch].mean()  # the gradient of each visited example is 1 / batch size

    recipe = Recipe(batch_size=4, learning_rate=1.0)
    state = start_training(lambda key: jnp.zeros(10), recipe, KEYS)
    seen = jnp.arange(10)
    # Adam's first moment after both steps: 0.1 of the last batch's gradient, 0.09 of the first's.
    state, _ = train_epoch(visits, recipe, state, seen, KEYS)
    (moment,) = [value for path, value in optax.tree.get_all_with_path(state.optimizer, "mu")]
    for seed in range(3):
        steps = np.sort(np.asarray(moment[seed]) * 4)
        np.testing.assert_allclose(steps, [0, 0, *[0.09] * 4, *[0.1] * 4], rtol=1e-5)


def test_data_set_smaller_than_a_batch_is_one_step():
    state, losses = train(KEYS, epochs=1, data=IMAGES[:3])
    (count,) = [value for path, value in optax.tree.get_all_with_path(state.optimizer, "count")]
    np.testing.assert_array_equal(count, [1, 1, 1])
    assert np.isfinite(losses).all()


def test_step_is_adams():
    recipe = Recipe(batch_size=50, learning_rate=1e-2)
    state, _ = train(KEYS[:1], epochs=1, loss=MODEL.loss, recipe=recipe)
    params = MODEL.init(jax.random.fold_in(KEYS[0], 0))

    @jax.jit
    def step(params):
        optimizer = optax.adam(1e-2)
        grads = jax.grad(MODEL.loss)(params, IMAGES, KEYS[0])
        return optax.apply_updates(params, optimizer.update(grads, optimizer.init(params))[0])

    expected = step(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-4, atol=1e-6),
        state.params,
        expected,
    )


def test_one_cycle_ends_with_a_learning_rate_near_zero():
    recipe = Recipe(epochs=4, batch_size=25, learning_rate=1e-2, one_cycle=True)
    state = start_training(MODEL.init, recipe, KEYS)
    moves = []
    for _ in range(4):
        before = state.params["encoder"]["kernel"]
        state, _ = train_epoch(MODEL.loss, recipe, state, IMAGES, KEYS)
        moves.append(float(np.abs(state.params["encoder"]["kernel"] - before).max()))
    assert moves[-1] < 0.2 * moves[1]


def test_eight_devices_equal_one_and_compile_once(trained):
    mesh = jax.make_mesh((8,), ("data",))
    state, losses = trained
    first, first_losses = train(KEYS, epochs=1, mesh=mesh)
    with count_compilations() as compiled:
        shared, later_losses = train(KEYS, state=first, mesh=mesh)
    assert compiled == []
    assert all(len(leaf.devices()) == 8 for leaf in jax.tree.leaves(shared.params))
    np.testing.assert_allclose([*first_losses, *later_losses], losses, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), shared[:2], state[:2]
    )


def test_each_of_eight_devices_gets_its_share_of_every_batch(monkeypatch):
    shapes = []

    def watched(stopwatch, program, carry, inputs, data, run=training.Stopwatch.run):
        shapes.append(inputs.batch.sharding.shard_shape(inputs.batch.shape))
        return run(stopwatch, program, carry, inputs, data)

    monkeypatch.setattr(training.Stopwatch, "run", watched)
    train(KEYS, epochs=1, mesh=jax.make_mesh((8,), ("data",)))
    assert shapes == [(3, 3, 2, *IMAGES.shape[1:])]  # 3 steps of 3 seeds, of 16 images


def test_batch_that_does_not_divide_over_the_devices_is_refused():
    with pytest.raises(ValueError, match=r"batch.* 8 devices .*got 3"):
        train(KEYS, data=IMAGES[:3], mesh=jax.make_mesh((8,), ("data",)))


@pytest.mark.parametrize(("setting", "value"), [("epochs", -1), ("batch_size", 0)])
def test_bad_recipe_is_refused(setting, value):
    with pytest.raises(ValueError, match=rf"{setting}.*got {value}"):
        Recipe(**{setting: value})


def test_no_data_is_refused():
    with pytest.raises(ValueError, match="data"):
        train(KEYS, epochs=1, data=IMAGES[:0])


def test_clip_scales_a_larger_gradient_to_its_norm_for_each_seed():
    grads = {"w": jnp.array([3.0, 4.0])}
    plain, clipped = Recipe(), Recipe(clip=1.0)
    states = [recipe.optimizer(9).init(grads) for recipe in (plain, clipped)]
    a, _ = plain.optimizer(9).update({"w": jnp.array([0.6, 0.8])}, states[0])
    b, _ = clipped.optimizer(9).update(grads, states[1])
    assert_trees_close(a, b, rtol=1e-6)
    tenfold, _ = train(
        KEYS, recipe=Recipe(3, 16, 1e-2, clip=1e-3), loss=lambda *a: 10 * MODEL.loss(*a)
    )
    single, _ = train(KEYS, recipe=Recipe(3, 16, 1e-2, clip=1e-3), loss=MODEL.loss)
    assert_trees_close(tenfold.params, single.params, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
def test_clip_must_be_above_zero(clip):
    with pytest.raises(ValueError, match="clip must be above 0"):
        Recipe(clip=clip)
