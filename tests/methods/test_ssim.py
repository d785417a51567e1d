import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from gsu_jax.methods.ingredients import ms_ssim
from gsu_jax.methods.ingredients._ssim import WEIGHTS


def pair(seed, shape):
    rng = np.random.default_rng(seed)
    x = rng.random(shape)
    return x, np.clip(x + 0.3 * rng.normal(size=shape), 0, 1)


def plain_ms_ssim(x, y, scales, window=7):
    """One image of one channel, in float64, by correlation with a window in two dimensions."""
    at = np.arange(window) - (window - 1) / 2
    gaussian = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))

    def local(image):
        return correlate2d(image, gaussian / gaussian.sum(), mode="valid")

    result = 1.0
    for scale, weight in enumerate(WEIGHTS[:scales]):
        weight = weight / sum(WEIGHTS[:scales])
        mx, my = local(x), local(y)
        vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
        result *= np.mean((2 * cov + 0.0009) / (vx + vy + 0.0009)) ** weight
        if scale == scales - 1:
            result *= np.mean((2 * mx * my + 0.0001) / (mx**2 + my**2 + 0.0001)) ** weight
        rows, columns = x.shape[0] // 2, x.shape[1] // 2
        x, y = (
            i[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean((1, 3)) for i in (x, y)
        )
    return result


@pytest.mark.parametrize(("side", "scales"), [((28, 28), 3), ((15, 18), 2), ((8, 8), 1)])
def test_it_is_the_plain_computation_at_as_many_scales_as_fit(side, scales):
    x, y = pair(0, (2, *side))
    found = ms_ssim(jnp.float32(x[..., None]), jnp.float32(y[..., None]))
    expected = [plain_ms_ssim(*images, scales) for images in zip(x, y, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert (np.asarray(found) < 0.99).all()


def test_an_image_smaller_than_the_window_is_one_window():
    x, y = pair(1, (1, 4, 4))
    found = ms_ssim(jnp.float32(x[..., None]), jnp.float32(y[..., None]))
    np.testing.assert_allclose(found, plain_ms_ssim(x[0], y[0], 1, window=4), rtol=1e-4)


def test_equal_images_score_one_and_cannot_be_bettered():
    x = jnp.float32(pair(2, (3, 16, 16, 1))[0])
    value, grads = jax.value_and_grad(lambda y: ms_ssim(x, y).sum())(x)
    np.testing.assert_allclose(value, 3.0, rtol=1e-5)
    np.testing.assert_allclose(grads, 0.0, atol=1e-3)


def test_opposite_images_have_a_finite_value_and_gradient():
    x = jnp.float32(pair(3, (2, 16, 16, 1))[0])
    value, grads = jax.value_and_grad(lambda y: ms_ssim(x, y).sum())(1 - x)
    assert 0 <= value < 0.1
    assert np.isfinite(grads).all()


def test_images_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="x and y must have one shape"):
        ms_ssim(jnp.zeros((1, 8, 8, 1)), jnp.zeros((2, 8, 8, 1)))
