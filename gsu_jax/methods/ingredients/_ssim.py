"""Structural similarity of images, by matrix products: convolutions are slow in loops on CPUs."""

import jax
import jax.numpy as jnp
import numpy as np

# Of the five scales of Wang, Simoncelli & Bovik 2003; fewer are weighted in the same proportions.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ms_ssim(x: jax.Array, y: jax.Array, *, window: int = 7, deviation: float = 1.5) -> jax.Array:
    """Multi-scale structural similarity of images in [0, 1], `[n, h, w, c]` -> `[n]`, float32.

    Wang, Simoncelli & Bovik 2003: with scale j + 1 the 2x2 means of scale j, of the last, M,

        l_M^w_M  prod_j cs_j^w_j,   l = (2 m_x m_y + a) / (m_x^2 + m_y^2 + a),
        cs = (2 s_xy + b) / (s_x^2 + s_y^2 + b),   a = 0.01^2, b = 0.03^2,

    m, s the means and (co)variances in Gaussian windows that lie inside the image (Wang et al.
    2004), l and cs averaged over windows and channels. 1 for equal images. As many scales are used
    as a window fits into, five at most: three for 28 and 32 pixels, four for 64; an image smaller
    than the window is one window. One scale is plain SSIM but that l and cs are averaged apart.

    Terms below 1e-4, such as the negative ones of opposite images, count as 1e-4, without a
    gradient: their powers have none.

    Args:
      x: `[n, h, w, c]` floats.
      y: the same.
      window: side of the square window, in pixels.
      deviation: of the Gaussian, in pixels.
    """
    if x.shape != y.shape:
        raise ValueError(f"x and y must have one shape, found {x.shape} and {y.shape}.")
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
    """`[side // 2, side]`: the means of neighbouring pairs; an odd last pixel is left out."""
    return np.eye(side // 2, dtype=np.float32).repeat(2, 1) @ np.eye(side // 2 * 2, side) / 2
