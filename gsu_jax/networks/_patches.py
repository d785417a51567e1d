"""Convolutions that keep, halve or double an image, each as one matrix product.

XLA's CPU backend runs a convolution's gradient 22 times slower inside a loop, and slower still
under `vmap`. Its transposed convolution is 4 to 8 times slower than this one even outside a loop.
Matrix products do not suffer, so these layers can be scanned over steps and mapped over seeds.
"""

import jax
import jax.numpy as jnp
from flax import nnx


def keep(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of stride 1 with zero padding that keeps the size of the image.

    Equal to `lax.conv_general_dilated(images, kernel, (1, 1), "SAME")` in NHWC and HWIO. The
    shifted images stand side by side, and one matrix product applies the kernel.

    Args:
        images: `[n, height, width, channels]`.
        kernel: `[k, k, channels, features]`, k odd.

    Returns:
        `[n, height, width, features]`.
    """
    _, height, width, _ = images.shape
    size = len(kernel)
    border = (size // 2, size // 2)
    padded = jnp.pad(images, ((0, 0), border, border, (0, 0)))
    shifted = [padded[:, i : height + i, j : width + j] for i in range(size) for j in range(size)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def halve(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """The 4x4 convolution of stride 2 whose zero padding of 1 makes the image half as large.

    Equal to `lax.conv_general_dilated(images, kernel, (2, 2), ((1, 1), (1, 1)))` in NHWC and HWIO.
    A patch of 4x4 pixels consists of two by two of the padded image's 2x2 blocks. Slices gather the
    patches in the order of the kernel's rows and columns, and one matrix product applies it.

    Args:
        images: `[n, height, width, channels]`, height and width even.
        kernel: `[4, 4, channels, features]`.

    Returns:
        `[n, height / 2, width / 2, features]`.
    """
    n, height, width, channels = images.shape
    height, width = height // 2, width // 2
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    blocks = padded.reshape(n, height + 1, 2, width + 1, 2 * channels).swapaxes(2, 3)
    rows = [
        jnp.stack([blocks[:, i : height + i, j : width + j] for j in (0, 1)], axis=4)
        for i in (0, 1)
    ]
    return _multiply(jnp.stack(rows, axis=3).reshape(n, height, width, 16 * channels), kernel)


def double(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """The transposed convolution, which is the adjoint of `halve` with the same kernel.

    <halve(x, kernel), y> = <x, double(y, kernel)> for all x and y. It is a matrix product with the
    kernel's transpose, followed by a sum of the overlapping patches. Equal to
    `lax.conv_transpose(images, kernel, (2, 2), "SAME", transpose_kernel=True)`.

    Args:
        images: `[n, height, width, features]`.
        kernel: `[4, 4, channels, features]`.

    Returns:
        `[n, 2 height, 2 width, channels]`.
    """
    n, height, width, _ = images.shape
    larger = jnp.zeros((n, 2 * height, 2 * width, kernel.shape[2]), images.dtype)
    _, adjoint = jax.vjp(lambda x: halve(x, kernel), larger)
    return adjoint(images)[0]


def _multiply(patches: jax.Array, kernel: jax.Array) -> jax.Array:
    """Patches `[n, height, width, k k channels]` times the kernel `[k, k, channels, features]`.

    On a CPU the order is worth a factor of two in the kernel's gradient: as `[features, k k
    channels]` it is a product for which XLA does not transpose the patches
    (docs/experiments/performance.md).
    """
    *places, size = patches.shape
    features = kernel.shape[-1]
    matrix = kernel.transpose(3, 0, 1, 2).reshape(features, size)
    return jnp.einsum("pk,fk->pf", patches.reshape(-1, size), matrix).reshape(*places, features)


class Halve(nnx.Module):
    """`halve` with a kernel and a bias of its own, computed in `dtype`."""

    def __init__(self, channels: int, features: int, dtype: str, rngs: nnx.Rngs) -> None:
        init = nnx.initializers.he_normal()
        self.kernel = nnx.Param(init(rngs.params(), (4, 4, channels, features)))
        self.bias = nnx.Param(jnp.zeros(features))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[n, h, w, channels]` -> `[n, h / 2, w / 2, features]`."""
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        return halve(x.astype(self.dtype), kernel) + bias


class Double(nnx.Module):
    """`double` with a kernel and a bias of its own, computed in `dtype`."""

    def __init__(self, features: int, channels: int, dtype: str, rngs: nnx.Rngs) -> None:
        # Four of the sixteen taps of every feature reach a pixel: the variance is 2 / (4 features).
        init = nnx.initializers.variance_scaling(8.0, "fan_in", "normal", in_axis=-1, out_axis=-2)
        self.kernel = nnx.Param(init(rngs.params(), (4, 4, channels, features)))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[n, h, w, features]` -> `[n, 2 h, 2 w, channels]`."""
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        return double(x.astype(self.dtype), kernel) + bias
