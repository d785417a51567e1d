"""Inner products at the limits of the dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.surgery._inner_products import (
    inner_products,
    scale_by_power_of_two,
    well_inside_range,
)

FLOAT32 = jnp.finfo(jnp.float32)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1.0, 1e17, 1e30])
def test_products_are_those_of_the_scaled_vectors(scale):
    u, r = np.float32([[3, 4], [1, 2]]) * np.float32(scale), np.float32([[1, 0], [0, 2]])
    products = jax.jit(inner_products, static_argnums=2)(list(u), list(r), (0, 1))
    a = np.float64(u) * np.asarray(products.update_scale)[:, None]
    b = np.float64(r) * np.asarray(products.retain_scale)[:, None]
    np.testing.assert_allclose(products.dot, (a * b).sum(1), rtol=1e-6)
    np.testing.assert_allclose(products.update_square, (a * a).sum(1), rtol=1e-6)
    np.testing.assert_allclose(products.retain_square, (b * b).sum(1), rtol=1e-6)
    assert products.finite.all()
    scales = np.log2([products.update_scale, products.retain_scale])
    np.testing.assert_array_equal(scales, np.round(scales))
    plain = scale == 1.0
    assert (scales == 0).all() == plain
    if not plain:
        assert ((np.abs(a).max(1) >= 1) & (np.abs(a).max(1) < 2)).all()


def test_leaves_of_one_group_are_summed():
    leaves = [jnp.float32([1, 2]), jnp.float32(3), jnp.float32([[4]])]
    products = inner_products(leaves, [2 * leaf for leaf in leaves], (0, 1, 0))
    np.testing.assert_array_equal(products.dot, [2 * (1 + 4 + 16), 18])
    np.testing.assert_array_equal(products.update_square, [21, 9])
    np.testing.assert_array_equal(products.retain_square, [84, 36])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_finite_is_told_per_group(bad):
    good, wrong = jnp.float32([1, 2]), jnp.float32([1, bad])
    for us, rs in (([good, wrong], [good, good]), ([good, good], [good, wrong])):
        assert inner_products(us, rs, (0, 1)).finite.tolist() == [True, False]


def test_no_leaves_have_no_groups():
    assert inner_products([], [], ()).dot.shape == (0,)


def test_range_of_reliable_squares():
    low, high = float(FLOAT32.tiny) / float(FLOAT32.eps) ** 3, float(FLOAT32.max * FLOAT32.eps)
    for square, inside in (
        (1.0, True),
        (2 * low, True),
        (low / 2, False),
        (high / 2, True),
        (2 * high, False),
        (0.0, False),
        (np.inf, False),
        (np.nan, False),
    ):
        assert bool(well_inside_range(jnp.float32([1.0, square]))) == inside
    assert not well_inside_range(jnp.float32([low, 1.0]))
    assert not well_inside_range(jnp.float32([high, 1.0]))


def test_scale_is_a_power_of_two_that_brings_a_number_between_one_and_two():
    numbers = jnp.float32([1.0, 1.5, 2.0, 3e-30, 5e30, 0.75])
    scales = scale_by_power_of_two(numbers)
    scaled = np.asarray(numbers * scales)
    assert ((scaled >= 1) & (scaled < 2)).all()
    np.testing.assert_array_equal(np.frexp(scales)[0], 0.5)


def test_scale_of_zero_and_infinity_is_one_and_extremes_stay_normal():
    np.testing.assert_array_equal(scale_by_power_of_two(jnp.float32([0, np.inf, np.nan])), 1.0)
    smallest, largest = scale_by_power_of_two(jnp.float32([FLOAT32.tiny, FLOAT32.max]))
    assert smallest == 2.0**125
    assert largest == 2.0**-125
