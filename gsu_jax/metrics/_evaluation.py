"""One row of the results table: what a judge sees in a model's samples, and the model's ELBO."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax import checks
from gsu_jax.metrics._agreement import check_model, warn_of_range
from gsu_jax.metrics._evidence_metrics import EVIDENCE_METRICS, IMAGES, evidence_metrics
from gsu_jax.metrics._judging import draw_samples, judge_samples
from gsu_jax.metrics._likelihood import has_elbo, negative_elbo
from gsu_jax.metrics._reference import Reference
from gsu_jax.metrics._sample_metrics import CORRECTED_METRICS, metrics_of_predictions
from gsu_jax.models import Classifier, GenerativeModel

METRICS = (
    "fratio",
    "fratio_upper95",
    "fratio_probability",
    "inception_score",
    "fid",
    "fid_retain",
    "nelbo_retain",
    "nelbo_forget",
    "coverage",
    "density",
    *EVIDENCE_METRICS,
    *CORRECTED_METRICS,
)


def evaluate(
    model: GenerativeModel,
    params: Any,
    judge: Classifier,
    judge_params: Any,
    reference: Reference,
    key: jax.Array,
    *,
    samples: int = 10_000,
    batch_size: int = 1000,
    phi_images: int = IMAGES,
    drawn: Iterable[jax.Array] | None = None,
) -> dict[str, float | bool | None]:
    """Measures one model: every metric in `METRICS`, and whether the model diverged.

    `fratio` is the share of samples that the judge assigns to the forgotten class, and
    `fratio_probability` the mean probability that it gives this class; both are None if single
    images are forgotten. `fid` compares with all test
    images; `fid_retain`, `coverage` and `density` compare with the retained ones. `nelbo_retain`
    and `nelbo_forget` are means over test images, in nats at beta = 1. `phi_retain` to
    `phi_flagged` are those of `evidence_metrics`: what the decoder alone knows. The last three are
    the `corrected_share` of fratio and its interval, for the errors that the judge makes on test
    images; None if these do not show the class, or the judge does not tell it apart.

    If single images are forgotten, `nelbo_forget` is their own mean, and `nelbo_gap` is this mean
    minus that of test images of the same classes. A model that knows the listed images describes
    them better than their like; of retrained models the gap is about 0.

    A diverged model raises nothing and keeps its row. `diverged` is True in two cases:

    * Parameters, samples, logits or features are not finite. Then every metric is None.
    * They are finite, and the negative ELBO of a test image overflows. Then its mean alone is None,
      because what the model draws is evidence. A large finite mean, such as 1e13, is a number.

    A model with neither encode, decode and log_likelihood nor elbo has no ELBO. Its two means are
    None, and it has not diverged. The ELBO is that of `reference.examples`. phi that overflows is
    None and no divergence.

    The samples depend on `key` and `batch_size` alone, so that models evaluated with one key draw
    the same latents. One compilation serves all parameters of one shape, if `model` and `judge` are
    the same objects in every call.

    Args:
        model: The generative model.
        params: Its parameters.
        judge: The classifier of `reference`.
        judge_params: Its parameters.
        reference: The test data, from `make_reference`.
        key: A PRNG key.
        samples: Images to draw, at least 2.
        batch_size: Images at a time.
        phi_images: Retained and forgotten images each for phi; 0 leaves phi out.
        drawn: The samples, if `draw_samples` has drawn them already.

    Returns:
        `METRICS` and `diverged`, as plain Python numbers.

    Raises:
        ValueError: `samples` is below 2, the model draws images of another shape than those of
            `reference`, or it cannot take `reference.examples`.
    """
    checks.at_least(2, samples=samples)
    checks.random_key(key=key)
    check_model(model, params, reference)
    row: dict[str, float | bool | None] = dict.fromkeys(METRICS)
    if reference.listed is not None:
        row["nelbo_gap"] = None
    if not _all_finite(params):
        return row | {"diverged": True}
    _, elbo_key = jax.random.split(key)
    if drawn is None:
        drawn = draw_samples(model, params, key, samples, batch_size=batch_size)
    judged = judge_samples(judge, judge_params, drawn, samples)
    finite, predictions = judged.finite, judged.predictions
    if not finite:
        return row | {"diverged": True}
    warn_of_range(model, judged.least, judged.largest)
    row |= metrics_of_predictions(predictions, reference)
    tested = (reference.examples, reference.forgotten, reference.listed)
    row |= evidence_metrics(model, params, *tested, images=phi_images)
    if not has_elbo(model):
        return row | {"diverged": False}
    nelbo = negative_elbo(model, params, reference.examples, elbo_key, batch_size=batch_size)
    means = _mean_nelbos(nelbo, reference.forgotten)
    if reference.listed is not None:
        examples, weights = reference.listed
        own = negative_elbo(model, params, examples, elbo_key, batch_size=batch_size)
        means["nelbo_forget"] = _finite(own.mean())
        means["nelbo_gap"] = _finite(own.mean() - weights @ nelbo)
    return row | means | {"diverged": None in means.values()}


def _mean_nelbos(nelbo: np.ndarray, forgotten: np.ndarray) -> dict[str, float | None]:
    """Means over the retained and the forgotten images, if there are any; None if one overflows."""
    parts = {"nelbo_retain": nelbo[~forgotten], "nelbo_forget": nelbo[forgotten]}
    return {
        name: float(part.mean()) if np.isfinite(part).all() else None
        for name, part in parts.items()
        if len(part)
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _all_finite(tree: Any) -> bool:
    leaves = [
        leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    ]
    return bool(_leaves_finite(leaves))


@jax.jit
def _leaves_finite(leaves):
    return jnp.all(jnp.asarray([jnp.isfinite(leaf).all() for leaf in leaves]))
