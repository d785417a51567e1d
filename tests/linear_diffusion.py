"""A linear diffusion model of 2x2 images: x^ = alpha (z K + b)."""

import jax
import jax.numpy as jnp

from gsu_jax.models import DiffusionConfig
from gsu_jax.models.diffusion import alpha, diffusion

SHAPE = (2, 2, 1)


def init(key):
    return {"linear": {"kernel": 0.3 * jax.random.normal(key, (4, 4)), "bias": jnp.zeros(4)}}


def denoise(params, z, gamma):
    flat = z.reshape(len(z), -1) @ params["linear"]["kernel"] + params["linear"]["bias"]
    return (alpha(gamma)[:, None] * flat).reshape(z.shape)


MODEL = diffusion(DiffusionConfig(SHAPE, sampler_steps=2, bound_times=2), init, denoise)
