import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_vae import MODEL
from helpers import vector
from jax.flatten_util import ravel_pytree
from linear_autoencoder import images
from method_steps import KEY

from gsu_jax import unlearn
from gsu_jax.curvature import gauss_newton_product
from gsu_jax.data import ImageSet, concatenate
from gsu_jax.methods import InfluenceStep
from gsu_jax.methods._influence import curvature_along, elbo_loss, weighted_batch
from gsu_jax.models import GenerativeModel

FORGET, RETAIN = images(2, 6, offset=0.4), images(3, 18)


def quadratic(curvature=(1.0, 1.0, 1.0, 1.0)):
    """1/2 sum_i c_i (theta_i - x_i)^2: the minimum is the mean image, the Hessian is diag(c)."""

    def loss(params, images, key):
        del key
        errors = params["theta"] - images.reshape(len(images), 4)
        return 0.5 * (jnp.asarray(curvature) * jnp.square(errors)).sum(-1).mean()

    return GenerativeModel(lambda key: {"theta": jnp.zeros(4)}, loss, None)


def step(method, model, params, sets=None):
    forget, retain = sets or (ImageSet.of(FORGET), ImageSet.of(RETAIN))
    return jax.jit(lambda params, *sets: method.start(model, params, *sets, KEY))(
        params, forget, retain
    )


def at_the_minimum():
    return {"theta": jnp.asarray(np.concatenate([FORGET, RETAIN]).reshape(-1, 4).mean(0))}


def test_without_damping_a_quadratic_loss_ends_at_the_retained_minimum():
    """Of a quadratic loss the Newton step is exact: from the mean of all to that of the rest."""
    method = InfluenceStep(curvature="hessian", damping=1e-6)
    found = step(method, quadratic(), at_the_minimum())["theta"]
    np.testing.assert_allclose(found, RETAIN.reshape(-1, 4).mean(0), rtol=1e-4)


@pytest.mark.parametrize("damping", [1.0, 3.0])
def test_damping_is_relative_to_the_curvature_along_the_forget_gradient(damping):
    method = InfluenceStep(curvature="hessian", damping=damping)
    theta = at_the_minimum()["theta"]
    for scale in (1.0, 100.0):
        found = step(method, quadratic([scale] * 4), {"theta": theta})["theta"]
        whole = RETAIN.reshape(-1, 4).mean(0) - theta
        np.testing.assert_allclose(found - theta, whole / (1 + damping), rtol=1e-3)


@pytest.mark.long
def test_gauss_newton_step_is_that_of_the_dense_system():
    params = MODEL.init(jax.random.key(1))
    method = InfluenceStep(damping=0.5, iterations=200)
    forget_key, retain_key = jax.random.split(KEY)
    loss = elbo_loss(MODEL)
    examples, data = (
        weighted_batch(ImageSet.of(x), key, method.images)
        for x, key in ((FORGET, forget_key), (RETAIN, retain_key))
    )
    flat, unravel = ravel_pytree(params)
    product = gauss_newton_product(loss, params, data)
    columns = jax.vmap(lambda e: ravel_pytree(product(unravel(e)))[0])(jnp.eye(len(flat)))
    matrix = np.float64(columns)
    slope = np.float64(ravel_pytree(jax.grad(loss)(params, examples))[0])
    damping = 0.5 * slope @ matrix @ slope / (slope @ slope)
    expected = (
        len(FORGET) / len(RETAIN) * np.linalg.solve(matrix + damping * np.eye(len(flat)), slope)
    )
    found = np.float64(ravel_pytree(step(method, MODEL, params))[0]) - np.float64(flat)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_gradient_of_the_parts_is_that_of_the_negative_elbo():
    params, batch = MODEL.init(jax.random.key(1)), weighted_batch(ImageSet.of(FORGET), KEY, 6)
    found = jax.grad(elbo_loss(MODEL))(params, batch)
    expected = jax.grad(MODEL.loss)(params, jnp.asarray(FORGET), KEY)  # its noise is negligible
    np.testing.assert_allclose(vector(found), vector(expected), rtol=0.01, atol=0.05)


def test_curvature_along_a_direction_is_its_quotient_without_a_sign():
    diagonal, direction = jnp.float32([1.0, -2.0, 6.0]), {"a": jnp.float32([3.0, 4.0, 0.0])}
    found = curvature_along(direction, lambda v: {"a": diagonal * v["a"]})
    np.testing.assert_allclose(found, abs(9 - 32) / 25, rtol=1e-6)
    nothing = {"a": jnp.zeros(3)}
    assert curvature_along(nothing, lambda v: v) == 1


def test_padding_of_a_set_does_not_count():
    sets = concatenate(FORGET, RETAIN)
    padded = sets._replace(
        images=jnp.concatenate([sets.images, jnp.full((9, 2, 2, 1), 99.0)]), n_retain=18
    )
    method = InfluenceStep(curvature="hessian", damping=1e-6)
    found = step(method, quadratic(), at_the_minimum(), (padded.forget, padded.retain))["theta"]
    np.testing.assert_allclose(found, RETAIN.reshape(-1, 4).mean(0), rtol=1e-4)


def test_a_system_that_is_not_solved_gives_no_parameters_and_a_warning(caplog):
    """One step of steepest descent on eigenvalues 1 and 1000 ends farther away than it began."""
    model = quadratic([1.0, 1.0, 1.0, 1000.0])
    params = {"theta": FORGET.reshape(-1, 4).mean(0) + jnp.float32([1, 1, 1, 3e-5])}
    method = InfluenceStep(curvature="hessian", damping=1e-6, iterations=1)
    result = unlearn(model, params, FORGET, RETAIN, method=method, key=KEY)
    assert np.isnan(result.params["theta"]).all()
    assert "influence ended with parameters that are not finite" in caplog.text
    caplog.clear()
    solved = InfluenceStep(curvature="hessian", damping=1e-6, iterations=9)
    result = unlearn(model, params, FORGET, RETAIN, method=solved, key=KEY)
    assert np.isfinite(result.params["theta"]).all()
    assert not caplog.text


def test_the_hessian_needs_the_loss_alone():
    InfluenceStep(curvature="hessian").check(quadratic())
    with pytest.raises(ValueError, match=r"influence .*encode"):
        InfluenceStep().check(quadratic())


@pytest.mark.parametrize(
    "settings", [{"curvature": "fisher"}, {"damping": 0.0}, {"iterations": 0}, {"images": 0}]
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=rf"{next(iter(settings))} .*got"):
        InfluenceStep(**settings)
