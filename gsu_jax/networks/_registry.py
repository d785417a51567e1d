"""Networks by the type of their config."""

from typing import Any

from gsu_jax.models import (
    AllCNNConfig,
    Classifier,
    ConvVAEConfig,
    GenerativeModel,
    MLPVAEConfig,
    ResNetConfig,
    check_config,
)
from gsu_jax.networks._allcnn import allcnn
from gsu_jax.networks._conv_vae import conv_vae
from gsu_jax.networks._mlp_vae import mlp_vae
from gsu_jax.networks._resnet import resnet18

GENERATORS = {MLPVAEConfig: mlp_vae, ConvVAEConfig: conv_vae}
CLASSIFIERS = {AllCNNConfig: allcnn, ResNetConfig: resnet18}


def generator(config: Any) -> GenerativeModel:
    """The generative model that `config` describes, by its type.

    Raises:
      TypeError: `config` is of none of the types in `GENERATORS`.
    """
    check_config("model", tuple(GENERATORS), config)
    return GENERATORS[type(config)](config)


def classifier(config: Any) -> Classifier:
    """The classifier that `config` describes, by its type.

    Raises:
      TypeError: `config` is of none of the types in `CLASSIFIERS`.
    """
    check_config("judge", tuple(CLASSIFIERS), config)
    return CLASSIFIERS[type(config)](config)
