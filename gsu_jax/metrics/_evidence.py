"""The evidence of the decoder alone: log p(x) with a posterior that is refitted to each image."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax import checks
from gsu_jax.data import Examples, number_of, scale_examples
from gsu_jax.models import GenerativeModel, refit_posteriors
from gsu_jax.runtime import Compiled, ProgramCache

PART = 64  # images that are fitted at a time
PRIOR_SHARE = 0.1  # of the draws


class DecoderEvidence(NamedTuple):
    """log p(x) of each image, in nats.

    Attributes:
        phi: `[n]`, with the posterior refitted to the image: what the decoder knows.
        phi_encoder: `[n]`, with the encoder's posterior.
        effective_samples: `[n]`, (sum w)^2 / sum w^2 of the weights behind `phi`. Below 10 the
            estimate rests on a few draws and tends to lie too low.
    """

    phi: np.ndarray
    phi_encoder: np.ndarray
    effective_samples: np.ndarray

    @property
    def encoder_gap(self) -> np.ndarray:
        """`[n]`, phi - phi_encoder: what the encoder hides of the decoder's knowledge."""
        return self.phi - self.phi_encoder


def decoder_evidence(
    model: GenerativeModel,
    params: Any,
    images: Examples,
    key: jax.Array,
    *,
    samples: int = 512,
    steps: int = 300,
) -> DecoderEvidence:
    r"""What the decoder alone knows of each image, whatever became of the encoder.

    .. math::

        \varphi(x) = \log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{r(z_k)}, \qquad
        z_k \sim r = 0.9\, q^*_x + 0.1\, p(z)

    q*_x = N(m, diag s^2) is fitted to x by `steps` of Adam on the ELBO, with the decoder frozen,
    once from the encoder's output and once from the prior; the better fit of an image stays.
    `phi_encoder` is the same with the encoder's q(z|x) in the place of q*_x. So the two differ by
    the posterior alone, and p(z) in r bounds the weights of a broken encoder too.

    Of the K draws, 90 % come from q and the others from p(z), rounded once. The noise depends on
    `key` and the index of the image, never on the model, so that the difference of two models is
    not that of their draws. A draw whose weight is not a number counts as weight 0. Images are
    fitted 64 at a time and weighed one at a time; those that follow an image do not change it.

    Args:
        model: A model with encode, decode and log_likelihood, and the prior N(0, I).
        params: Its parameters.
        images: `[n, height, width, channels]`, as in `GenerativeModel`; or a pytree of arrays.
        key: A PRNG key; the same for all models that are compared.
        samples: K, draws of z for each image.
        steps: Steps of the fit.

    Returns:
        A `DecoderEvidence` of NumPy float64 arrays. A value that overflows is infinite or NaN.

    Raises:
        ValueError: The model lacks a function, there are no images, or a number is too small.

    Example:
        >>> normal = GenerativeModel(
        ...     init=None, loss=None, sample=None,
        ...     encode=lambda params, images: (jnp.zeros((len(images), 1)),) * 2,
        ...     decode=lambda params, z: z,
        ...     log_likelihood=lambda decoded, images: jnp.full(len(images), -3.0),
        ... )
        >>> images = np.zeros((2, 1, 1, 1), np.float32)
        >>> found = decoder_evidence(normal, None, images, jax.random.key(0), steps=20)
        >>> found.phi.round(1).tolist(), found.encoder_gap.round(1).tolist()
        ([-3.0, -3.0], [0.0, 0.0])

    References:
        Burda et al., `Importance Weighted Autoencoders <https://arxiv.org/abs/1509.00519>`_, 2015;
        Cremer et al., `Inference Suboptimality in Variational Autoencoders
        <https://arxiv.org/abs/1801.03558>`_, 2018.
    """
    model.require("encode", "decode", "log_likelihood", needed_by="decoder_evidence")
    checks.at_least(10, samples=samples)
    checks.at_least(1, steps=steps)
    n = number_of(images)
    if not n:
        raise ValueError("images is empty; give at least one")
    program = ProgramCache.default.get(
        (decoder_evidence, model, samples, steps),
        lambda: Compiled(partial(_evidence_of_part, model, samples, steps)),
    )
    parts = []
    for start in range(0, n, PART):
        # Copies of the last image fill the last part.
        rows = np.minimum(np.arange(start, start + PART), n - 1)
        part = jax.tree.map(lambda x, rows=rows: x[rows], images)
        count = min(PART, n - start)
        found = program(params, part, key, np.int32(start), np.int32(count))
        parts.append([np.asarray(values[:count], np.float64) for values in found])
    return DecoderEvidence(*map(np.concatenate, zip(*parts, strict=True)))


def _evidence_of_part(model, samples, steps, params, images, key, start, count):
    images = scale_examples(images)
    keys = jax.vmap(partial(jax.random.fold_in, key))(start + jnp.arange(PART))
    fit_keys, draw_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    encoded = tuple(x.astype(jnp.float32) for x in model.encode(params, images))

    def log_likelihood(z):
        return model.log_likelihood(model.decode(params, z), images).astype(jnp.float32)

    fitted = refit_posteriors(
        log_likelihood, jax.tree.map(jnp.nan_to_num, encoded), fit_keys, steps
    )

    def weigh(i, found):
        image = jax.tree.map(lambda x: jnp.broadcast_to(x[i], (samples, *x.shape[1:])), images)
        epsilon = jax.random.normal(draw_keys[i], (samples, *encoded[0].shape[1:]))
        weights = [
            _log_weights(model, params, image, epsilon, tuple(x[i] for x in posterior))
            for posterior in (fitted, encoded)
        ]
        phi, phi_encoder = (jax.nn.logsumexp(w) - jnp.log(samples) for w in weights)
        effective = jnp.exp(2 * jax.nn.logsumexp(weights[0]) - jax.nn.logsumexp(2 * weights[0]))
        values = (phi, phi_encoder, effective)
        return tuple(all_.at[i].set(one) for all_, one in zip(found, values, strict=True))

    return jax.lax.fori_loop(0, count, weigh, (jnp.zeros(PART),) * 3)


def _log_weights(model, params, images, epsilon, posterior: tuple) -> jax.Array:
    """Returns log p(x|z_k) p(z_k) / r(z_k) of one image, `[samples]`."""
    mean, log_variance = posterior
    of_prior = round(PRIOR_SHARE * len(epsilon))
    share = of_prior / len(epsilon)
    z = jnp.where(
        (jnp.arange(len(epsilon)) < of_prior)[:, None],
        epsilon,
        mean + jnp.exp(0.5 * log_variance) * epsilon,
    )
    # The constants of both normal densities cancel.
    prior = -0.5 * jnp.square(z).sum(-1)
    own = -0.5 * (jnp.square(z - mean) * jnp.exp(-log_variance) + log_variance).sum(-1)
    mixture = jnp.logaddexp(own + jnp.log1p(-share), prior + jnp.log(share))
    log_likelihood = model.log_likelihood(model.decode(params, z), images).astype(jnp.float32)
    weights = log_likelihood + prior - mixture
    return jnp.where(jnp.isnan(weights), -jnp.inf, weights)
