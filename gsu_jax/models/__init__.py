"""What a model is: pure functions of its parameters, likelihoods, configs."""

from gsu_jax.models._classifier import Classifier, Prediction
from gsu_jax.models._configs import (
    AllCNNConfig,
    ConditionalVAEConfig,
    ConvVAEConfig,
    MLPClassifierConfig,
    MLPVAEConfig,
    ResNetConfig,
    VAEConfig,
    check_config,
)
from gsu_jax.models._diffusion_configs import (
    CLASSIFIER_CONFIGS,
    GENERATOR_CONFIGS,
    DiffusionConfig,
    MLPDiffusionConfig,
    TransformerDiffusionConfig,
)
from gsu_jax.models._elbo import (
    PerImage,
    bernoulli_log_likelihood,
    elbo_terms,
    gaussian_log_likelihood,
    kl_to_standard_normal,
    sample_posterior,
)
from gsu_jax.models._generative import GenerativeModel, Loss, Params
from gsu_jax.models._posteriors import Posteriors, encode_in_parts
from gsu_jax.models._refit import refit_posteriors
from gsu_jax.models._vae import vae

__all__ = [
    "CLASSIFIER_CONFIGS",
    "GENERATOR_CONFIGS",
    "AllCNNConfig",
    "Classifier",
    "ConditionalVAEConfig",
    "ConvVAEConfig",
    "DiffusionConfig",
    "GenerativeModel",
    "Loss",
    "MLPClassifierConfig",
    "MLPDiffusionConfig",
    "MLPVAEConfig",
    "Params",
    "PerImage",
    "Posteriors",
    "Prediction",
    "ResNetConfig",
    "TransformerDiffusionConfig",
    "VAEConfig",
    "bernoulli_log_likelihood",
    "check_config",
    "elbo_terms",
    "encode_in_parts",
    "gaussian_log_likelihood",
    "kl_to_standard_normal",
    "refit_posteriors",
    "sample_posterior",
    "vae",
]
