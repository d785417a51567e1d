"""One study on many devices: batches shared, parameters split, by the compiler or by hand."""

from functools import partial

import gaussian_vae
import jax
import jax.numpy as jnp
import linear_autoencoder
import numpy as np
import optax
import pytest
from linear_autoencoder import images

from gsu_jax import GradientSurgery, forget_retain_grads, project_conflicting, unlearn
from gsu_jax.data import concatenate
from gsu_jax.models import MLPVAEConfig
from gsu_jax.networks import mlp_vae
from gsu_jax.runtime import Placement, collectives, make_mesh
from gsu_jax.runtime._collectives import Collective
from gsu_jax.storage import _checkpoints as checkpoints
from gsu_jax.study import Recipe, start_training, train_epoch
from gsu_jax.unlearning import epoch_order, initialize, take_step, with_images
from gsu_jax.unlearning._step import epoch_sizes

KEY = jax.random.key(0)
MESHES = ["data=8", "data=4,model=2"]
FORGET, RETAIN = images(1, 40, offset=0.5), images(2, 56)


def run(mesh, model=linear_autoencoder.MODEL, dtype=np.float32, **settings):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), model.init(KEY))
    return unlearn(
        model, params, FORGET.astype(dtype), RETAIN.astype(dtype), key=KEY,
        mesh=None if mesh is None else make_mesh(mesh), **settings,
    )  # fmt: skip


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


# One step and one epoch, against one device


@pytest.mark.parametrize("mesh", MESHES)
def test_a_step_gives_on_every_mesh_what_it_gives_on_one_device(mesh):
    step = {"method": "gradient_surgery", "optimizer": optax.sgd(0.1), "batch_size": 40}
    alone, shared = (run(m, **step) for m in (None, mesh))
    assert alone.steps == 1
    assert_close(shared.params, alone.params, rtol=1e-5, atol=1e-5)
    assert_close(shared.history, alone.history, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mesh", MESHES)
def test_a_whole_epoch_in_double_precision_is_that_of_one_device(mesh):
    epoch = {"method": "gradient_surgery", "optimizer": optax.sgd(0.1), "batch_size": 8}
    with jax.enable_x64(True):
        alone, shared = (run(m, dtype=np.float64, **epoch) for m in (None, mesh))
        assert alone.steps == 5
        assert {leaf.dtype for leaf in jax.tree.leaves(shared.params)} == {jnp.dtype("float64")}
        assert_close(shared.params, alone.params, rtol=1e-9, atol=1e-9)


def test_parameters_lie_in_parts_and_a_method_that_looks_at_the_sets_runs_on_them():
    batches = {"batch_size": 8, "retain_batch_size": 8}
    result = run("data=4,model=2", gaussian_vae.MODEL, method="redirect_surgery", **batches)
    kernel = result.params["encoder"]["kernel"]
    assert kernel.shape == (4, 3)
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(2, 3)}
    assert np.isfinite(kernel).all()


@pytest.mark.parametrize("mesh", MESHES)
def test_training_on_every_mesh_is_training_on_one_device(mesh):
    model, recipe = linear_autoencoder.MODEL, Recipe(epochs=1, batch_size=16)
    keys = jax.random.split(KEY, 3)
    state = start_training(model.init, recipe, keys)
    one, many = (
        train_epoch(model.loss, recipe, state, RETAIN, keys, m) for m in (None, make_mesh(mesh))
    )
    assert_close(many[1], one[1], rtol=1e-5)
    assert_close(many[0].params, one[0].params, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_parts_is_restored_on_another_mesh(tmp_path):
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
def test_a_step_of_surgery_is_the_same_in_every_mode(mode):
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
        found = jax.jit(step)(place.everywhere(params), *map(place.rows, sets))
    elif mode == "pmap":
        parts = [x.reshape(8, -1, *x.shape[1:]) for x in sets]
        found = jax.pmap(surgery("data"), "data", in_axes=(None, 0, 0))(params, *parts)
        found = jax.tree.map(lambda leaf: leaf[0], found)
    else:
        place = Placement(make_mesh("data=8"))
        found = jax.jit(surgery())(place.parameters(params), *map(place.rows, sets))
    assert_close(found, expected, rtol=1e-5, atol=1e-6)
    moved = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), found, params)))
    assert moved > 0.01


# What is exchanged


def exchanged(mesh):
    """The collectives of a step of surgery, and the shapes of the parameters."""
    model = mlp_vae(MLPVAEConfig(image_shape=(2, 2, 1), widths=(48,), latent_size=8))
    method, place = GradientSurgery(batch_size=8), Placement(make_mesh(mesh))
    joined = concatenate(FORGET, RETAIN, place.devices)
    sizes, room = epoch_sizes(method, joined, 1, mesh=place.mesh)
    sets = joined._replace(images=place.rows(joined.images))
    params = place.parameters(jax.jit(model.init)(KEY))
    run = (model, method, None, place)
    carry, prepared = jax.jit(partial(initialize, *run))(params, sets, sizes.steps, KEY)
    xs = with_images(epoch_order(KEY, 0, sizes, room), method, joined, sizes, place)
    first = jax.tree.map(lambda x: x[0], xs)
    shared = (sets, sizes.steps, prepared, KEY)
    step = jax.jit(partial(take_step, *run)).lower(carry, first, shared)
    return collectives(step.compile()), [leaf.shape for leaf in jax.tree.leaves(params)]


def test_shared_batches_exchange_the_two_gradients_and_scalars_alone():
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


def test_collectives_are_read_from_a_program():
    mesh = jax.make_mesh((8,), ("a",))
    split = jax.NamedSharding(mesh, jax.P("a"))

    def total(x):
        add = jax.shard_map(lambda x: jax.lax.psum(x, "a"), in_specs=jax.P("a"), out_specs=jax.P())
        return add(x)

    x = jax.ShapeDtypeStruct((16, 3), jnp.bfloat16, sharding=split)
    with jax.set_mesh(mesh):
        program = jax.jit(total).lower(x).compile()
    (found,) = collectives(program)
    assert found.kind == "all-reduce"
    assert found.shapes == ((2, 3),)
    assert found.bytes in (12, 24)  # a CPU sums bfloat16 in float32


def test_a_program_of_one_device_exchanges_nothing():
    assert collectives(jax.jit(jnp.sin).lower(1.0).compile()) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "%a = (f32[2,3]{1,0}, f32[]) all-reduce(%x, %y), channel_id=1",
            Collective("all-reduce", ((2, 3), ()), 28),
        ),
        ("%a = bf16[8]{0} all-gather-start(%x)", Collective("all-gather", ((8,),), 16)),
        ("%a = bf16[8]{0} all-gather-done(%x)", None),
        ("%a = f32[8]{0} add(%x, %all-reduce.3)", None),
    ],
)
def test_a_line_of_a_program_is_read(line, expected):
    class Program:
        as_text = staticmethod(lambda: line)

    assert collectives(Program) == ([expected] if expected else [])
