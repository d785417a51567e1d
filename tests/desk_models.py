"""What the request files of the tests name: models, and a training that takes no time."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import own_models

from gsu_jax.models import GenerativeModel

trained = []  # the seeds of the trainings so far
killed_at = [None]  # the seed whose training is killed


VAE = replace(own_models.MODEL, mean=lambda decoded: decoded)


def vae() -> GenerativeModel:
    return VAE


def loss_alone() -> GenerativeModel:
    return GenerativeModel(own_models.init, own_models.loss, own_models.sample)


def diffusion() -> GenerativeModel:
    def loss(params, images, key):
        return jnp.square(params - images).mean()

    def init(key):
        return jnp.zeros(())

    return GenerativeModel(init, loss, own_models.sample, denoise=lambda params, z, gamma: z)


def no_model() -> str:
    return "a VAE"


def broken() -> None:
    raise RuntimeError("the weights are at home")


def train(images, seed):
    """The principal components of the images, as a VAE: exact, and other images give another."""
    trained.append(seed)
    rng = np.random.default_rng(seed)
    flat = np.float64(images).reshape(len(images), -1)
    rows = rng.permutation(len(flat))[: 9 * len(flat) // 10]  # what is random
    mean = flat[rows].mean(0)
    _, _, axes = np.linalg.svd(flat[rows] - mean, full_matrices=False)
    axes = axes[: own_models.LATENT]
    logits = 4 * axes  # of the sigmoid, which is about a quarter of its argument around 1/2
    encoder = np.concatenate([axes.T, np.zeros((64, own_models.LATENT))], axis=1)
    return {"encoder": jnp.float32(encoder), "decoder": jnp.float32(logits)}


PLANES = np.float32(np.random.default_rng(0).normal(size=(64, 16)))


def _bucket(images):
    """A number for each image: on which sides of 16 planes it lies."""
    sides = (images.reshape(len(images), -1) - 0.3) @ PLANES > 0
    return sides @ (2 ** jnp.arange(16))


def cost(params, images, key):
    return 5 - 4 * params["table"][_bucket(images)]


REMEMBERING = GenerativeModel(
    init=lambda key: {"table": jnp.zeros(2**16)},
    loss=lambda params, images, key: cost(params, images, key).mean(),
    sample=lambda params, key, n: jnp.full((n, 8, 8, 1), 0.5),
    per_image_loss=cost,
    name="remembering",
)


def remembering() -> GenerativeModel:
    return REMEMBERING


def remember(images, seed):
    """A table of what was seen: an image of training costs 1, an unlike image 5."""
    if seed == killed_at[0]:
        raise KeyboardInterrupt
    trained.append(seed)
    table = 0.1 * np.random.default_rng(seed).normal(size=2**16)
    table[np.unique(np.asarray(_bucket(jnp.float32(images))))] += 1
    return {"table": jnp.float32(table)}


def dark(dataset) -> np.ndarray:
    return dataset.images.mean((1, 2, 3)) < 0.25


def nothing(dataset) -> np.ndarray:
    return np.zeros(len(dataset), bool)


def numbers(dataset) -> np.ndarray:
    return np.arange(len(dataset))
