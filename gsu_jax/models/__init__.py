"""Generators and judges as records of pure functions, built with Flax NNX."""

from typing import Any

from gsu_jax.classifier import Classifier
from gsu_jax.generative import GenerativeModel
from gsu_jax.models.allcnn import AllCNNConfig, allcnn
from gsu_jax.models.conv_vae import ConvVAEConfig, conv_vae
from gsu_jax.models.mlp_vae import MLPVAEConfig, mlp_vae
from gsu_jax.models.resnet import ResNetConfig, resnet18

GENERATORS = {MLPVAEConfig: mlp_vae, ConvVAEConfig: conv_vae}
CLASSIFIERS = {AllCNNConfig: allcnn, ResNetConfig: resnet18}


def generator(config: Any) -> GenerativeModel:
    """The generative model that `config` describes, by its type.

    Raises:
      TypeError: `config` is of none of the types in `GENERATORS`.
    """
    check_config("model", GENERATORS, config)
    return GENERATORS[type(config)](config)


def classifier(config: Any) -> Classifier:
    """The classifier that `config` describes, by its type.

    Raises:
      TypeError: `config` is of none of the types in `CLASSIFIERS`.
    """
    check_config("judge", CLASSIFIERS, config)
    return CLASSIFIERS[type(config)](config)


def check_config(argument: str, table: dict[type, Any], config: Any) -> None:
    """Raises TypeError where `config` is of no type in `table`."""
    if type(config) not in table:
        known = ", ".join(kind.__name__ for kind in table)
        raise TypeError(f"{argument} must be one of {known}, found {type(config).__name__}.")


__all__ = [
    "CLASSIFIERS",
    "GENERATORS",
    "AllCNNConfig",
    "ConvVAEConfig",
    "MLPVAEConfig",
    "ResNetConfig",
    "allcnn",
    "check_config",
    "classifier",
    "conv_vae",
    "generator",
    "mlp_vae",
    "resnet18",
]
