"""One study on many devices: batches shared, parameters split, by the compiler or by hand."""

from functools import partial

import gaussian_vae
import jax
import jax.numpy as jnp
import linear_autoencoder
import numpy as np
import optax
import pytest
from collectives import collectives
from helpers import assert_trees_close
from linear_autoencoder import images

from gsu_jax import GradientSurgery, forget_retain_grads, project_conflicting, unlearn
from gsu_jax.data import concatenate
from gsu_jax.models import MLPVAEConfig
from gsu_jax.networks import mlp_vae
from gsu_jax.runtime import Placement, make_mesh
from gsu_jax.storage import _checkpoints as checkpoints
from gsu_jax.study import Recipe, start_training, train_epoch
from gsu_jax.unlearning import (
    RunConstants,
    epoch_order,
    gather_images,
    initialize,
    take_step,
)
from gsu_jax.unlearning._step import epoch_sizes

pytestmark = pytest.mark.long

KEY = jax.random.key(0)
FORGET, RETAIN = images(1, 40, offset=0.5), images(2, 56)


@pytest.mark.slow
def test_redirect_surgery_runs_on_split_parameters():
    model = gaussian_vae.MODEL
    result = unlearn(
        model, model.init(KEY), FORGET, RETAIN, method="redirect_surgery", key=KEY,
        batch_size=8, retain_batch_size=8, mesh=make_mesh("data=4,model=2"),
    )  # fmt: skip
    kernel = result.params["encoder"]["kernel"]
    assert kernel.shape == (4, 3)
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(2, 3)}
    assert np.isfinite(kernel).all()


def test_training_with_split_parameters_is_training_on_one_device():
    model, recipe = linear_autoencoder.MODEL, Recipe(epochs=1, batch_size=16)
    keys = jax.random.split(KEY, 3)
    state = start_training(model.init, recipe, keys)
    one, many = (
        train_epoch(model.loss, recipe, state, RETAIN, keys, mesh)
        for mesh in (None, make_mesh("data=4,model=2"))
    )
    assert_trees_close(many[1], one[1], rtol=1e-5)
    assert_trees_close(many[0].params, one[0].params, rtol=1e-4, atol=1e-5)


def test_checkpoint_of_split_parameters_is_restored_on_another_mesh(tmp_path):
    tree = {"kernel": np.random.default_rng(0).random((16, 24), np.float32), "bias": np.ones(3)}
    tree = jax.tree.map(np.float32, tree)
    meshes = ("data=2,model=4", "data=4,model=2", "data=8")
    saved, *others = (Placement(make_mesh(mesh)).parameters(tree) for mesh in meshes)
    checkpoints.save(tmp_path / "parts", saved)
    for like in (saved, *others, jax.tree.map(jnp.asarray, tree)):
        loaded = checkpoints.load(tmp_path / "parts", like)
        jax.tree.map(np.testing.assert_array_equal, loaded, tree)
        assert loaded["kernel"].sharding == like["kernel"].sharding


# By hand: `shard_map` and `pmap`, gradients averaged over the axis by the transform


def surgery(axis_name=None):
    transform = optax.chain(project_conflicting(axis_name=axis_name), optax.sgd(0.1))

    def step(params, forget, retain):
        grads = forget_retain_grads(linear_autoencoder.MODEL.loss, params, forget, retain, KEY)
        state = transform.init(params)
        updates, _ = transform.update(grads.forget, state, params, retain_grads=grads.retain)
        return optax.apply_updates(params, updates)

    return step


@pytest.mark.parametrize("mode", ["shard_map", "pmap", "jit"])
def test_surgery_is_the_same_under_shard_map_pmap_and_jit(mode):
    params = linear_autoencoder.MODEL.init(KEY)
    sets = images(1, 16, offset=0.5), images(2, 24)
    expected = surgery()(params, *sets)
    if mode == "shard_map":
        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        place, split = Placement(mesh), jax.P("data")
        step = jax.shard_map(
            surgery("data"), mesh=mesh, in_specs=(jax.P(), split, split), out_specs=jax.P(),
            check_vma=False,
        )  # fmt: skip
        found = jax.jit(step)(place.replicate(params), *map(place.images, sets))
    elif mode == "pmap":
        parts = [x.reshape(8, -1, *x.shape[1:]) for x in sets]
        found = jax.pmap(surgery("data"), "data", in_axes=(None, 0, 0))(params, *parts)
        found = jax.tree.map(lambda leaf: leaf[0], found)
    else:
        place = Placement(make_mesh("data=8"))
        found = jax.jit(surgery())(place.parameters(params), *map(place.images, sets))
    assert_trees_close(found, expected, rtol=1e-5, atol=1e-6)
    moved = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), found, params)))
    assert moved > 0.01


# What is exchanged


def exchanged(mesh):
    """The collectives of a step of surgery, and the shapes of the parameters."""
    model = mlp_vae(MLPVAEConfig(image_shape=(2, 2, 1), widths=(48,), latent_size=8))
    method, place = GradientSurgery(batch_size=8), Placement(make_mesh(mesh))
    joined = concatenate(FORGET, RETAIN, place.devices)
    sizes, shape = epoch_sizes(method, joined, 1, place)
    sets = joined._replace(images=place.images(joined.images))
    params = place.parameters(jax.jit(model.init)(KEY))
    run = (model, method, None, place)
    carry, prepared = jax.jit(partial(initialize, *run))(params, sets, sizes.steps, KEY)
    order = jax.jit(epoch_order, static_argnums=3)(KEY, 0, sizes, shape)
    images, inputs = gather_images(order, joined, sets, sizes.steps, place)
    inputs = jax.tree.map(lambda x: x[0], inputs)
    constants = RunConstants(images, sizes.steps, prepared, KEY)
    step = jax.jit(partial(take_step, *run)).lower(carry, inputs, constants)
    return collectives(step.compile()), [leaf.shape for leaf in jax.tree.leaves(params)]


def test_shared_batches_exchange_two_gradients_and_scalars():
    found, shapes = exchanged("data=8")
    gradient = 4 * sum(map(np.prod, shapes))
    assert {one.kind for one in found} == {"all-reduce"}
    assert 2 * gradient <= sum(one.bytes for one in found) <= 2 * gradient + 64


def test_split_parameters_are_never_gathered():
    found, shapes = exchanged("data=4,model=2")
    matrices = {tuple(sorted(shape)) for shape in shapes if len(shape) > 1}
    seen = {(one.kind, tuple(sorted(shape))) for one in found for shape in one.shapes}
    assert not {shape for _, shape in seen} & matrices
    assert ("all-reduce", (16, 24)) in seen  # a half of the gradient of the [48, 16] kernel
