"""One row of the results table: what a judge sees in a model's samples, and the model's ELBO."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.metrics._coverage import coverage_density, neighbour_radii
from gsu_jax.metrics._feature_ratio import feature_ratio, mean_probability
from gsu_jax.metrics._frechet import GaussianFit, fit_gaussian, frechet_distance
from gsu_jax.metrics._inception_score import inception_score
from gsu_jax.metrics._judging import judge_predictions, judge_samples
from gsu_jax.metrics._likelihood import negative_elbo
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
)


# eq=False: records of arrays are compared by identity.
@dataclass(frozen=True, eq=False)
class Reference:
    """What every model of an experiment is held against; `make_reference` computes it once.

    Attributes:
      test_fit: Gaussian of the judge's features of all test images.
      retained_fit: the same of the retained test images alone.
      retained_features: `[r, d]`, for coverage and density.
      retained_radii: `[r]`, their `neighbour_radii` for `neighbours`.
      neighbours: k of coverage and density.
      images: `[n, height, width, channels]`, all test images, for the negative ELBO.
      forgotten: `[n]` bool, which of them show what is to be forgotten.
      feature: the judge's index of the removed class.
      feature_extractor: what the features are; printed beside every Frechet distance.
      judge_accuracy: of the judge on the test images.
    """

    test_fit: GaussianFit
    retained_fit: GaussianFit
    retained_features: np.ndarray
    retained_radii: np.ndarray
    neighbours: int
    images: np.ndarray
    forgotten: np.ndarray
    feature: int
    feature_extractor: str
    judge_accuracy: float


def make_reference(
    judge: Classifier,
    judge_params: Any,
    images: np.ndarray,
    labels: np.ndarray,
    forgotten: np.ndarray,
    feature: int,
    *,
    neighbours: int = 5,
    batch_size: int = 1000,
) -> Reference:
    """Judges the test data once, for all models that are to be evaluated.

    Args:
      judge: the classifier behind fratio, IS, the Frechet distances and coverage.
      judge_params: its parameters.
      images: `[n, height, width, channels]` test images, uint8 or floating in [0, 1].
      labels: `[n]` integers, the judge's own class indices, for its accuracy.
      forgotten: `[n]` bool, which test images show what is to be forgotten; may be none
        (`nelbo_forget` is then None).
      feature: the judge's index of the removed class.
      neighbours: k of coverage and density.
      batch_size: images judged at a time.

    Raises:
      ValueError: lengths differ, `feature` or a label is none of the judge's classes, too few test
        images are retained, or the judge is not finite on the test images.
    """
    images, labels, forgotten = np.asarray(images), np.asarray(labels), np.asarray(forgotten)
    for name, array in (("labels", labels), ("forgotten", forgotten)):
        if array.shape != (len(images),):
            raise ValueError(
                f"{name} must be one for each of the {len(images)} images, found {array.shape}."
            )
    if forgotten.dtype != bool:
        raise ValueError(f"forgotten must be a mask of bool, found {forgotten.dtype}.")
    retained = np.count_nonzero(~forgotten)
    if retained <= neighbours:
        raise ValueError(
            f"forgotten leaves {retained} of {len(images)} test images retained; coverage with "
            f"neighbours={neighbours} needs at least {neighbours + 1}."
        )
    logits, features = judge_predictions(judge, judge_params, images, batch_size=batch_size)
    if not (np.isfinite(logits).all() and np.isfinite(features).all()):
        raise ValueError(
            "judge gives logits or features that are not finite on the test images; train it again."
        )
    classes = logits.shape[1]
    if not 0 <= feature < classes:
        raise ValueError(f"feature must be one of the judge's 0..{classes - 1}, found {feature}.")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels must be the judge's class indices 0..{classes - 1}, found "
            f"{labels.min()}..{labels.max()}; map the data set's own labels to positions first."
        )
    retained_features = features[~forgotten]
    return Reference(
        test_fit=fit_gaussian(features),
        retained_fit=fit_gaussian(retained_features),
        retained_features=retained_features,
        retained_radii=neighbour_radii(retained_features, neighbours),
        neighbours=neighbours,
        images=images,
        forgotten=forgotten,
        feature=int(feature),
        feature_extractor=judge.features,
        judge_accuracy=float(np.mean(logits.argmax(axis=1) == labels)),
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
) -> dict[str, float | bool | None]:
    """Metrics of one model, as plain Python numbers: `METRICS` and `diverged`.

    `fratio` is the share of samples that the judge calls the removed feature, `fratio_probability`
    the mean probability that it gives the feature. `fid` is against all test data, `fid_retain`,
    `coverage` and `density` against the retained test data; `nelbo_retain` and `nelbo_forget` are
    means over test images in nats at beta = 1.

    A diverged model keeps its row and raises nothing. Where parameters, samples, logits or features
    are not finite, `diverged` is True and every metric None. Where they are finite and only a mean
    negative ELBO overflows, that metric alone is None and `diverged` True: what the model still
    draws is evidence. A finite negative ELBO is a number, be it 1e13. A model without encode,
    decode or log_likelihood has no ELBO: None, and not diverged.

    Samples depend on `key` and `batch_size` alone, so models evaluated with one key are drawn from
    the same latents. Compiled once for each model, judge and shape of parameters: build the two
    records once, and pass the same ones.

    Raises:
      ValueError: `samples` is below 2.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, found {samples}.")
    row: dict[str, float | bool | None] = dict.fromkeys(METRICS)
    if not _all_finite(params):
        return row | {"diverged": True}
    sample_key, elbo_key = jax.random.split(key)
    finite, (logits, features) = judge_samples(
        model, params, judge, judge_params, sample_key, samples, batch_size=batch_size
    )
    if not finite:
        return row | {"diverged": True}

    log_probabilities = _log_softmax(logits)
    ratio = feature_ratio(logits.argmax(axis=1), reference.feature)
    fit = fit_gaussian(features)
    coverage, density = coverage_density(
        reference.retained_features,
        features,
        reference.neighbours,
        radii=reference.retained_radii,
    )
    row |= {
        "fratio": ratio.ratio,
        "fratio_upper95": ratio.upper95,
        "fratio_probability": mean_probability(log_probabilities, reference.feature),
        "inception_score": inception_score(log_probabilities),
        "fid": frechet_distance(fit, reference.test_fit),
        "fid_retain": frechet_distance(fit, reference.retained_fit),
        "coverage": coverage,
        "density": density,
        "diverged": False,
    }
    if None in (model.encode, model.decode, model.log_likelihood):
        return row
    nelbo = negative_elbo(model, params, reference.images, elbo_key, batch_size=batch_size)
    for name, chosen in (
        ("nelbo_retain", ~reference.forgotten),
        ("nelbo_forget", reference.forgotten),
    ):
        if not chosen.any():
            continue
        if np.isfinite(nelbo[chosen]).all():
            row[name] = float(nelbo[chosen].mean())
        else:
            row["diverged"] = True
    return row


def _all_finite(tree: Any) -> bool:
    leaves = [
        leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    ]
    return bool(_leaves_finite(leaves))


@jax.jit
def _leaves_finite(leaves):
    return jnp.all(jnp.asarray([jnp.isfinite(leaf).all() for leaf in leaves]))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    # In float64: finite logits of a wrecked model can have differences that overflow float32.
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
