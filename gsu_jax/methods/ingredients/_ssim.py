"""Structural similarity of images, by matrix products: convolutions are slow in loops on CPUs."""

import jax
import jax.numpy as jnp
import numpy as np

# Of five scales (Wang, Simoncelli & Bovik 2003); fewer scales keep the proportions.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ms_ssim(x: jax.Array, y: jax.Array, *, window: int = 7, deviation: float = 1.5) -> jax.Array:
    """Multi-scale structural similarity (MS-SSIM) of images in [0, 1].

    Scale j + 1 is the 2x2 means of scale j. With M the last scale and w_j the weights,

        l_M^w_M  prod_j cs_j^w_j,   l = (2 m_x m_y + a) / (m_x^2 + m_y^2 + a),
        cs = (2 s_xy + b) / (s_x^2 + s_y^2 + b),   a = 0.01^2, b = 0.03^2

    m and s are means and (co)variances in Gaussian windows inside the image; l and cs are averaged
    over windows and channels. It uses as many scales as a window fits into, at most five: three for
    28 and 32 pixels, four for 64. An image smaller than the window is one window. With one scale it
    is SSIM, except that l and cs are averaged separately.

    Terms below 1e-4, such as negative ones, count as 1e-4 and have no gradient.

    Args:
        x: `[n, h, w, c]` floats.
        y: the same.
        window: the side of the square window, in pixels.
        deviation: the standard deviation of the Gaussian, in pixels.

    Returns:
        `[n]`, float32; 1 for equal images.

    Raises:
        ValueError: `x` and `y` have different shapes.

    Example:
        >>> x = jnp.linspace(0, 1, 64).reshape(1, 8, 8, 1)
        >>> ms_ssim(x, x).round(3).tolist()
        [1.0]

    References:
        Wang, Simoncelli & Bovik, `Multi-scale Structural Similarity for Image Quality Assessment
        <https://doi.org/10.1109/ACSSC.2003.1292216>`_, 2003.
    """
    if x.shape != y.shape:
        raise ValueError(f"x and y must have one shape, got {x.shape} and {y.shape}")
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    weights = WEIGHTS[: _scales(min(x.shape[1:3]), window)]
    total = sum(weights)
    result = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            x, y = _along_both(x, _halving), _along_both(y, _halving)
        luminance, structure = _terms(x, y, window, deviation)
        result *= jnp.maximum(structure, 1e-4) ** (weight / total)
    return result * jnp.maximum(luminance, 1e-4) ** (weights[-1] / total)


def _scales(side: int, window: int) -> int:
    scales = 1
    while scales < len(WEIGHTS) and side // 2 >= window:
        side, scales = side // 2, scales + 1
    return scales


def _terms(
    x: jax.Array, y: jax.Array, window: int, deviation: float
) -> tuple[jax.Array, jax.Array]:
    def local_mean(images: jax.Array) -> jax.Array:
        return _along_both(images, lambda side: _gaussian_windows(side, window, deviation))

    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    a, b = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + a) / (mean_x**2 + mean_y**2 + a)
    structure = (2 * covariance + b) / (variances + b)
    return luminance.mean((1, 2, 3)), structure.mean((1, 2, 3))


def _along_both(images: jax.Array, matrix) -> jax.Array:
    """A image B^T for every image and channel; A = matrix(height), B = matrix(width)."""
    rows, columns = matrix(images.shape[1]), matrix(images.shape[2])
    # The full float32 product: variances are differences of two nearly equal numbers.
    return jnp.einsum("ih,nhwc,jw->nijc", rows, images, columns, precision="highest")


def _gaussian_windows(side: int, window: int, deviation: float) -> np.ndarray:
    """`[side - window + 1, side]`: row i holds a Gaussian over pixels i to i + window."""
    window = min(window, side)
    offsets = np.arange(window) - (window - 1) / 2
    gaussian = np.exp(-0.5 * (offsets / deviation) ** 2)
    matrix = np.zeros((side - window + 1, side), np.float32)
    for i, row in enumerate(matrix):
        row[i : i + window] = gaussian / gaussian.sum()
    return matrix


def _halving(side: int) -> np.ndarray:
    """`[side // 2, side]`: the means of neighboring pairs, without an odd last pixel."""
    return np.eye(side // 2, dtype=np.float32).repeat(2, 1) @ np.eye(side // 2 * 2, side) / 2
