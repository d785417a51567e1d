"""Diffusion models: noise schedule, variational bound, weightings and samplers.

Images are x in [-1, 1], and z = alpha x + sigma epsilon with alpha^2 + sigma^2 = 1. The noise level
is gamma = log(sigma^2 / alpha^2) = -log SNR. A network denoises: x^(z, gamma).
"""

from gsu_jax.models.diffusion._bound import (
    BoundTerms,
    Denoise,
    bits_per_dimension,
    decoder_term,
    diffusion_term,
    prior_term,
    weight,
)
from gsu_jax.models.diffusion._model import bound_terms, diffusion
from gsu_jax.models.diffusion._noise import (
    add_noise,
    alpha,
    ends,
    init_schedule,
    like,
    low_discrepancy_times,
    shape,
    sigma,
)
from gsu_jax.models.diffusion._pixels import to_data, to_images
from gsu_jax.models.diffusion._samplers import ancestral, ddim, heun, noise_levels

__all__ = [
    "BoundTerms",
    "Denoise",
    "add_noise",
    "alpha",
    "ancestral",
    "bits_per_dimension",
    "bound_terms",
    "ddim",
    "decoder_term",
    "diffusion",
    "diffusion_term",
    "ends",
    "heun",
    "init_schedule",
    "like",
    "low_discrepancy_times",
    "noise_levels",
    "prior_term",
    "shape",
    "sigma",
    "to_data",
    "to_images",
    "weight",
]
