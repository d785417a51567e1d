"""A VAE and a judge of a user's own: linear, for digits, and written without any scaling."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.data import Source, load
from gsu_jax.models import Classifier, GenerativeModel, Prediction, elbo_terms

LATENT = 4
seen = set()  # the dtypes of the images that the functions below were traced with


def init(key):
    first, second = jax.random.split(key)
    return {
        "encoder": 0.05 * jax.random.normal(first, (64, 2 * LATENT)),
        "decoder": 0.05 * jax.random.normal(second, (LATENT, 64)),
    }


def encode(params, images):
    seen.add(str(images.dtype))
    return jnp.split(images.reshape(-1, 64) @ params["encoder"], 2, axis=-1)


def decode(params, z):
    return jax.nn.sigmoid(z @ params["decoder"]).reshape(-1, 8, 8, 1)


def log_likelihood(decoded, images):
    seen.add(str(images.dtype))
    return -((decoded - images) ** 2).sum((1, 2, 3)) / 0.1


def loss(params, images, key):
    terms = elbo_terms(MODEL, params, images, key)
    return (terms.reconstruction + terms.kl).mean()


def sample(params, key, n):
    return decode(params, jax.random.normal(key, (n, LATENT)))


def judge(kernel, images):
    seen.add(str(images.dtype))
    flat = images.reshape(-1, 64)
    return Prediction(logits=flat @ kernel, features=flat[:, 18:24])


MODEL = GenerativeModel(init, loss, sample, encode, decode, log_likelihood, name="linear-vae")
JUDGE = Classifier(
    lambda key: 0.1 * jax.random.normal(key, (64, 10)), judge, "six pixels", name="linear-judge"
)


@cache
def uint8_digits() -> Source:
    """The digits as files of images have them: 0 to 255."""
    source = load("digits")
    train, test = (
        replace(part, images=np.round(255 * part.images).astype(np.uint8))
        for part in (source.train, source.test)
    )
    return replace(source, train=train, test=test)
