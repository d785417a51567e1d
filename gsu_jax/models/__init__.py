"""Generators and judges as records of pure functions, built with Flax NNX."""

from gsu_jax.models.allcnn import AllCNNConfig, allcnn
from gsu_jax.models.mlp_vae import MLPVAEConfig, mlp_vae

__all__ = ["AllCNNConfig", "MLPVAEConfig", "allcnn", "mlp_vae"]
