"""What holds for every method: those in `METHODS` and the rules for two gradients."""

from dataclasses import replace
from functools import cache

import gaussian_vae
import jax
import jax.numpy as jnp
import linear_autoencoder
import linear_diffusion
import numpy as np
import pytest
from compilations import count_compilations
from helpers import assert_finite, assert_same_structure, assert_trees_close, assert_trees_equal
from jax.sharding import NamedSharding, PartitionSpec
from linear_autoencoder import images
from method_steps import KEY, two_steps

from gsu_jax import METHODS, GradientSurgery
from gsu_jax.data import ForgetRetainSets, concatenate
from gsu_jax.methods import GRU, CAGrad, PCGrad, ProjectRetain, SurgeryInAdamMetric
from gsu_jax.models import GenerativeModel

RULES = (PCGrad, CAGrad, GRU, ProjectRetain, SurgeryInAdamMetric)
MEASURED = GradientSurgery(scope="measured", conflict_layers=1, label="measured_surgery")
EVERY_METHOD = [*(method() for method in (*METHODS.values(), *RULES)), MEASURED]
LOSS_ALONE = linear_autoencoder.MODEL
# Methods with a form of their own for diffusion models run on both kinds of model.
CASES = [
    *((method, gaussian_vae.MODEL) for method in EVERY_METHOD),
    *((method, linear_diffusion.MODEL) for method in EVERY_METHOD if method.instead),
    (METHODS["redirect_diffusion"](), linear_diffusion.MODEL),
]
UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def case_name(value):
    """The name of a method; of a model only that of diffusion."""
    if isinstance(value, GenerativeModel):
        return "" if value is gaussian_vae.MODEL else "diffusion"
    return value.title


def marked(*case):
    """A case; one that takes seconds to compile is slow."""
    slow = case[0].name in ("redirect_flow", "redirect_diffusion") or case[0] is MEASURED
    return pytest.param(*case, marks=pytest.mark.long if slow else ())


every_method = pytest.mark.parametrize("method", [*map(marked, EVERY_METHOD)], ids=case_name)
every_case = pytest.mark.parametrize(
    ("method", "model"), [marked(*case) for case in CASES], ids=case_name
)


def start(model):
    return model.init(jax.random.key(1))


@pytest.fixture(scope="module")
def sets():
    return concatenate(images(2, 11, offset=0.4), images(3, 21))


@cache
def program(method, model, mesh=None):
    def run(params, sets, key):
        return two_steps(method, model, params, sets, key, mesh)

    return jax.jit(run, compiler_options=UNOPTIMIZED)


def divided(sets, n_forget):
    """The same images, of which `n_forget` are to be forgotten."""
    total = sets.n_forget + sets.n_retain
    return ForgetRetainSets(sets.images, n_forget, total - n_forget)


@every_case
def test_result_is_finite_and_the_input_is_left_alone(method, model, sets):
    params = start(model)
    given = jax.tree.map(np.array, params)
    result, history = program(method, model)(params, sets, KEY)
    assert_same_structure(result, params)
    assert_finite((result, history))
    assert_trees_equal(params, given)
    assert bool(history) == (method.visits != "nothing")


@every_case
def test_the_same_key_gives_the_same_result_and_compiles_nothing(method, model, sets):
    params = start(model)
    first = program(method, model)(params, sets, KEY)
    with count_compilations() as compiled:
        second = program(method, model)(params, sets, KEY)
    assert_trees_equal(second, first)
    assert compiled == []


@every_method
def test_uint8_images_reach_the_model_as_floats(method, sets):
    model, seen = gaussian_vae.MODEL, set()

    def watch(function):
        def watched(first, images, *rest):
            seen.add(images.dtype.name)
            return function(first, images, *rest)

        return watched

    watched = {name: watch(getattr(model, name)) for name in ("loss", "encode", "log_likelihood")}
    pixels = sets._replace(images=(255 * sets.images).astype(np.uint8))
    jax.eval_shape(
        lambda *arguments: two_steps(method, replace(model, **watched), *arguments),
        start(model), pixels, KEY,
    )  # fmt: skip
    assert seen <= {"float32"}
    assert seen or method.name == "before"


@pytest.mark.long
@pytest.mark.parametrize(
    "method", [m for m, model in CASES if model is linear_diffusion.MODEL], ids=case_name
)
def test_a_diffusion_model_takes_uint8_images_for_the_floats_that_they_are(method, sets):
    model, pixels = linear_diffusion.MODEL, (255 * sets.images).astype(np.uint8)
    whole, scaled = (
        program(method, model)(start(model), sets._replace(images=x), KEY)
        for x in (pixels, (pixels / 255).astype(np.float32))
    )
    assert_trees_close(whole, scaled, rtol=1e-4, atol=1e-5)


@every_case
def test_one_image_can_be_forgotten_by_the_same_program(method, model, sets):
    params = start(model)
    program(method, model)(params, sets, KEY)
    with count_compilations() as compiled:
        result = program(method, model)(params, divided(sets, 1), KEY)
    assert_finite(result)
    assert compiled == []


@every_case
def test_bfloat16_parameters_stay_bfloat16(method, model, sets):
    params = start(model)
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    result, _ = jax.eval_shape(program(method, model), narrow, sets, KEY)
    expected = params if method.role == "yardstick" else narrow  # retraining starts from `init`
    assert_same_structure(result, expected)


@every_method
def test_a_model_without_a_needed_field_is_refused(method):
    if not method.needs:
        method.check(LOSS_ALONE)
        return
    with pytest.raises(ValueError, match=f"{method.name} .*{method.needs[0]}"):
        method.check(LOSS_ALONE)


@pytest.mark.parametrize(
    ("method", "model"),
    [
        *(
            (METHODS[name](), gaussian_vae.MODEL)
            for name in ("redirect_surgery", "retrack", "salun", "uno_s")
        ),
        (MEASURED, gaussian_vae.MODEL),
        *((METHODS[name](), linear_diffusion.MODEL) for name in ("siss", "retrack")),
    ],
    ids=case_name,
)
def test_eight_devices_give_the_result_of_one(method, model, sets):
    params = start(model)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    given = jax.device_put((params, sets, KEY), NamedSharding(mesh, PartitionSpec()))
    result = program(method, model, mesh)(*given)
    assert_trees_close(result, program(method, model)(params, sets, KEY), rtol=1e-4, atol=1e-5)
