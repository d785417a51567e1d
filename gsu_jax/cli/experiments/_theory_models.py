"""The two small models of digits whose losses `theory` takes apart."""

from functools import cache

import jax.numpy as jnp
import optax

from gsu_jax.curvature import ComposedLoss
from gsu_jax.models import GenerativeModel, MLPVAEConfig, kl_to_standard_normal

PENALTY = 1e-2


@cache
def vae() -> GenerativeModel:
    """The VAE, small enough for its whole Hessian."""
    from gsu_jax.networks import mlp_vae  # Flax takes seconds that --help should not

    return mlp_vae(MLPVAEConfig(image_shape=(8, 8, 1), widths=(16,), latent_size=2))


def classifier_outputs(params, batch):
    """Returns the logits of a linear classifier, and the parameters for their penalty."""
    return batch[0].reshape(len(batch[0]), -1) @ params["kernel"] + params["bias"], params


def cross_entropy(outputs, batch):
    """Returns the loss of the classifier with labels `batch[1]`."""
    logits, params = outputs
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()
    return loss + PENALTY / 2 * optax.tree.norm(params, squared=True)


def vae_outputs(params, batch):
    """Returns what the ELBO reads; the noise `batch[1]` draws z ~ q(z|x), fixed for each image."""
    mean, log_variance = vae().encode(params, batch[0])
    z = mean + jnp.exp(log_variance / 2) * batch[1]
    return vae().decode(params, z), mean, log_variance, params


def negative_elbo(outputs, batch):
    """Returns the loss of the VAE, with the penalty."""
    decoded, mean, log_variance, params = outputs
    loss = kl_to_standard_normal(mean, log_variance) - vae().log_likelihood(decoded, batch[0])
    return loss.mean() + PENALTY / 2 * optax.tree.norm(params, squared=True)


CLASSIFIER = ComposedLoss(classifier_outputs, cross_entropy)
VAE = ComposedLoss(vae_outputs, negative_elbo)
