"""A linear Gaussian model and a judge whose metrics have closed forms."""

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.models import Classifier, GenerativeModel, Prediction

NOISE = 0.3
SHAPE = (2, 3, 1)


def random_params(seed: int) -> dict:
    """Parameters of `MODEL`."""
    rng = np.random.default_rng(seed)
    params = {
        "encoder": rng.normal(size=(6, 2)),
        "decoder": 0.3 * rng.normal(size=(2, 6)),
        "bias": np.full(6, 0.5),
        "log_variance": np.array([-2.0, -1.0]),
    }
    return {name: leaf.astype(np.float32) for name, leaf in params.items()}


def encode(params, images):
    """q(z|x) = N(V x, exp(s))."""
    mean = images.reshape(len(images), -1) @ params["encoder"]
    return mean, jnp.broadcast_to(params["log_variance"], mean.shape)


def decode(params, z):
    return z @ params["decoder"] + params["bias"]


def log_likelihood(decoded, images):
    """p(x|z) = N(W z + b, NOISE^2)."""
    residual = images.reshape(len(images), -1) - decoded
    return -0.5 * (jnp.square(residual) / NOISE**2 + jnp.log(2 * jnp.pi * NOISE**2)).sum(1)


def sample(params, key, n):
    return decode(params, jax.random.normal(key, (n, 2))).reshape(n, *SHAPE)


MODEL = GenerativeModel(None, None, sample, encode, decode, log_likelihood)


def judge(params, images):
    """Class 1 if the mean of an image is above one half; the features are the pixels."""
    pixels = images.reshape(len(images), -1)
    score = params["scale"] * (pixels.mean(1) - 0.5)
    return Prediction(jnp.stack([-score, score], 1), pixels)


JUDGE = Classifier(None, judge, "6 pixels")
JUDGE_PARAMS = {"scale": np.float32(50.0)}
PARAMS = random_params(0)


def images(n: int) -> np.ndarray:
    """Samples of the model with `PARAMS`, by NumPy."""
    z = np.random.default_rng(1).normal(size=(n, 2)).astype(np.float32)
    return decode(PARAMS, z).reshape(n, *SHAPE)


def negative_elbo(images: np.ndarray) -> np.ndarray:
    """In closed form, because E_q |x - W z - b|^2 = |x - W m - b|^2 + tr(W S W^T)."""
    params = {name: leaf.astype(np.float64) for name, leaf in PARAMS.items()}
    x = images.reshape(len(images), -1).astype(np.float64)
    mean, variance = x @ params["encoder"], np.exp(params["log_variance"])
    squared = np.square(x - mean @ params["decoder"] - params["bias"]).sum(1)
    squared += (variance[:, None] * params["decoder"] ** 2).sum()
    reconstruction = 0.5 * squared / NOISE**2 + 3 * np.log(2 * np.pi * NOISE**2)
    divergence = 0.5 * (variance + mean**2 - 1 - params["log_variance"]).sum(1)
    return reconstruction + divergence
