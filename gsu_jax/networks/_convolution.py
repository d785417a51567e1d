"""A convolution as a matrix product, for images with the channels first and the batch last.

XLA's CPU backend runs a convolution's gradient 22 times slower inside a loop, and slower still
under `vmap`. Matrix products do not suffer. This layout makes each row of the matrix of patches a
few copies of contiguous memory.
"""

from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The convolution with the zero padding that TensorFlow calls SAME.

    Equal to `lax.conv_general_dilated(images, kernel, (stride, stride), "SAME")` in CHWN and HWIO.
    Has reverse-mode derivatives only.

    Args:
        images: `[channels, height, width, n]`.
        kernel: `[k, k, channels, features]`, k odd.
        stride: Step from one patch to the next, in rows and in columns.

    Returns:
        `[features, ceil(height / stride), ceil(width / stride), n]`.
    """
    patches = _patches(images, len(kernel), stride)
    return jnp.einsum("kf,khwn->fhwn", _matrix(kernel), patches)


def _matrix(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(-1, kernel.shape[-1])


def _patches(images: jax.Array, size: int, stride: int) -> jax.Array:
    """`[size^2 channels, height, width, n]`: the shifted images one after another."""
    sides = images.shape[1:3]
    pads = jax.lax.padtype_to_pads(sides, (size, size), (stride, stride), "SAME")
    padded = jnp.pad(images, ((0, 0), *pads, (0, 0)))
    rows, columns = ([slice(i, i + side, stride) for i in range(size)] for side in sides)
    return jnp.concatenate([padded[:, i, j] for i in rows for j in columns])


def _forward(images, kernel, stride):
    # The patches are not kept: they are nine times as large as the images, and quick to make.
    return convolve(images, kernel, stride), (images, kernel)


def _backward(stride, residuals, cotangent):
    images, kernel = residuals
    size = len(kernel)
    patches, adjoint = jax.vjp(lambda x: _patches(x, size, stride), images)
    kernel_grad = jnp.einsum("fhwn,khwn->kf", cotangent, patches).reshape(kernel.shape)
    if stride == 1:
        # The convolution with the mirrored kernel is faster than adding up overlapping patches.
        mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
        return convolve(cotangent, mirrored, 1), kernel_grad
    return *adjoint(jnp.einsum("kf,fhwn->khwn", _matrix(kernel), cotangent)), kernel_grad


convolve.defvjp(_forward, _backward)
