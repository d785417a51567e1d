"""Ready-made generators and judges in Flax NNX."""

# ruff: noqa: E402
from gsu_jax.checks import import_extra

import_extra("flax.nnx", "flax", "gsu_jax.networks")  # names the extra where it is missing

from gsu_jax.models import (
    AllCNNConfig,
    ConditionalVAEConfig,
    ConvVAEConfig,
    MLPClassifierConfig,
    MLPDiffusionConfig,
    MLPVAEConfig,
    ResNetConfig,
    TransformerDiffusionConfig,
)
from gsu_jax.networks._allcnn import allcnn
from gsu_jax.networks._conditional_vae import conditional_vae, sample_class
from gsu_jax.networks._conv_vae import conv_vae
from gsu_jax.networks._mlp_classifier import mlp_classifier
from gsu_jax.networks._mlp_diffusion import mlp_diffusion, use_principal_components
from gsu_jax.networks._mlp_vae import mlp_vae
from gsu_jax.networks._registry import CLASSIFIERS, GENERATORS, classifier, generator
from gsu_jax.networks._resnet import resnet18
from gsu_jax.networks._transformer_diffusion import transformer_diffusion

__all__ = [
    "CLASSIFIERS",
    "GENERATORS",
    "AllCNNConfig",
    "ConditionalVAEConfig",
    "ConvVAEConfig",
    "MLPClassifierConfig",
    "MLPDiffusionConfig",
    "MLPVAEConfig",
    "ResNetConfig",
    "TransformerDiffusionConfig",
    "allcnn",
    "classifier",
    "conditional_vae",
    "conv_vae",
    "generator",
    "mlp_classifier",
    "mlp_diffusion",
    "mlp_vae",
    "resnet18",
    "sample_class",
    "transformer_diffusion",
    "use_principal_components",
]
