"""Networks by the type of their config."""

from typing import Any

from gsu_jax.models import (
    AllCNNConfig,
    Classifier,
    ConvVAEConfig,
    GenerativeModel,
    MLPClassifierConfig,
    MLPDiffusionConfig,
    MLPVAEConfig,
    ResNetConfig,
    TransformerDiffusionConfig,
    check_config,
)
from gsu_jax.networks._allcnn import allcnn
from gsu_jax.networks._conv_vae import conv_vae
from gsu_jax.networks._mlp_classifier import mlp_classifier
from gsu_jax.networks._mlp_diffusion import mlp_diffusion
from gsu_jax.networks._mlp_vae import mlp_vae
from gsu_jax.networks._resnet import resnet18
from gsu_jax.networks._transformer_diffusion import transformer_diffusion

GENERATORS = {
    MLPVAEConfig: mlp_vae,
    ConvVAEConfig: conv_vae,
    MLPDiffusionConfig: mlp_diffusion,
    TransformerDiffusionConfig: transformer_diffusion,
}
CLASSIFIERS = {
    AllCNNConfig: allcnn,
    ResNetConfig: resnet18,
    MLPClassifierConfig: mlp_classifier,
}


def generator(config: Any) -> GenerativeModel:
    """The generative model of a config, by the config's type.

    Args:
        config: Of one of the types in `GENERATORS`.

    Returns:
        A `GenerativeModel`.

    Raises:
        TypeError: `GENERATORS` lacks the type.

    Example:
        >>> generator(MLPVAEConfig()) is mlp_vae(MLPVAEConfig())
        True
    """
    check_config("model", tuple(GENERATORS), config)
    return GENERATORS[type(config)](config)


def classifier(config: Any) -> Classifier:
    """The classifier of a config, by the config's type.

    Args:
        config: Of one of the types in `CLASSIFIERS`.

    Returns:
        A `Classifier`.

    Raises:
        TypeError: `CLASSIFIERS` lacks the type.

    Example:
        >>> classifier(AllCNNConfig()).features
        'AllCNN-16-32, 32 penultimate features'
    """
    check_config("judge", tuple(CLASSIFIERS), config)
    return CLASSIFIERS[type(config)](config)
