"""What several methods share: masked losses, guides, maps of latents, SSIM."""

from gsu_jax.methods.ingredients._certificate import Certificate, certify, retained_denoiser
from gsu_jax.methods.ingredients._densities import log_density
from gsu_jax.methods.ingredients._guide import resolve_guide
from gsu_jax.methods.ingredients._heat_flow import LatentGuide, heat_flow, train_latent_guide
from gsu_jax.methods.ingredients._kernel_guide import KernelGuide, kernel_guide
from gsu_jax.methods.ingredients._latent_view import (
    LatentView,
    has_latents,
    image_of_noise,
    latent_view,
    level_key,
    without_noise,
)
from gsu_jax.methods.ingredients._losses import (
    MaskedBatch,
    masked_mean,
    negative,
    over_masked,
    training_loss,
)
from gsu_jax.methods.ingredients._noise_guide import (
    Guide,
    NoiseGuide,
    pull,
    train_noise_guide,
)
from gsu_jax.methods.ingredients._rehearsal import retrained_gap
from gsu_jax.methods.ingredients._ssim import ms_ssim
from gsu_jax.methods.ingredients._teacher import imitation_loss
from gsu_jax.methods.ingredients._transport import Transport, find_neighbors, fit_transport
from gsu_jax.methods.ingredients._window import Window, check_window, window_loss

__all__ = [
    "Certificate",
    "Guide",
    "KernelGuide",
    "LatentGuide",
    "LatentView",
    "MaskedBatch",
    "NoiseGuide",
    "Transport",
    "Window",
    "certify",
    "check_window",
    "find_neighbors",
    "fit_transport",
    "has_latents",
    "heat_flow",
    "image_of_noise",
    "imitation_loss",
    "kernel_guide",
    "latent_view",
    "level_key",
    "log_density",
    "masked_mean",
    "ms_ssim",
    "negative",
    "over_masked",
    "pull",
    "resolve_guide",
    "retained_denoiser",
    "retrained_gap",
    "train_latent_guide",
    "train_noise_guide",
    "training_loss",
    "window_loss",
    "without_noise",
]
