"""Convolutions that keep, halve or double an image, each as one matrix product.

XLA's CPU backend runs a convolution's gradient 22 times slower inside a loop, its transposed
convolution 4 to 8 times slower than this one even outside, and both slower still under `vmap`.
Matrix products do not suffer: these layers may be scanned over steps and mapped over seeds.
"""

import jax
import jax.numpy as jnp
from flax import nnx


def convolve(images: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """The convolution with the zero padding that TensorFlow calls SAME.

    Equal to `lax.conv_general_dilated(images, kernel, (stride, stride), "SAME")` in NHWC and HWIO.
    The shifted images stand side by side, and one matrix product applies the kernel to all of them.

    Args:
        images: `[n, height, width, channels]`.
        kernel: `[k, k, channels, features]`.
        stride: step from one patch to the next, in rows and in columns.

    Returns:
        `[n, ceil(height / stride), ceil(width / stride), features]`.
    """
    size, shape = len(kernel), images.shape[1:3]
    pads = jax.lax.padtype_to_pads(shape, (size, size), (stride, stride), "SAME")
    padded = jnp.pad(images, ((0, 0), *pads, (0, 0)))
    rows, columns = ([slice(i, i + side, stride) for i in range(size)] for side in shape)
    shifted = [padded[:, i, j] for i in rows for j in columns]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def halve(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """The 4x4 convolution of stride 2 whose zero padding of 1 makes the image half as large.

    Equal to `lax.conv_general_dilated(images, kernel, (2, 2), ((1, 1), (1, 1)))` in NHWC and HWIO.
    Every patch of 4x4 pixels is two by two of the padded image's 2x2 blocks: all patches are
    gathered by slices, stacked where the kernel has its rows and columns, and multiplied at once.

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
    """The transposed convolution: the adjoint of `halve` by the same kernel.

    <halve(x, kernel), y> = <x, double(y, kernel)> for all x and y: a matrix product with the
    kernel's transpose, and an overlap-add of the patches. Equal to `lax.conv_transpose(images,
    kernel, (2, 2), "SAME", transpose_kernel=True)`.

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
    channels]` it is a product for which XLA does not transpose the patches (docs/performance.md).
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
