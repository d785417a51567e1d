"""The test data as the judge sees them: what every model of an experiment is compared with."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gsu_jax.data import Examples, check_examples, number_of
from gsu_jax.metrics._corrected_share import Count, JudgeErrors
from gsu_jax.metrics._coverage import neighbor_radii
from gsu_jax.metrics._feature_ratio import Feature
from gsu_jax.metrics._frechet import GaussianFit, fit_gaussian
from gsu_jax.metrics._judging import judge_predictions
from gsu_jax.models import Classifier


class Listed(NamedTuple):
    """Listed training images to forget, and the test images of their kind.

    Attributes:
        examples: The listed images.
        weights: `[n]`, the share of each test image: those of a class have together the share that
            the class has of the listed images.
    """

    examples: Examples
    weights: np.ndarray


def listed_images(images: Examples, labels: np.ndarray, test_labels: np.ndarray) -> Listed:
    """Returns listed images with their test images of the same classes.

    Args:
        images: The listed training images.
        labels: Their classes.
        test_labels: `[n]`, the classes of the test images.

    Raises:
        ValueError: A class of the listed images has no test image.

    Example:
        >>> listed = listed_images(np.zeros((2, 1, 1, 1)), np.array([0, 0]), np.array([0, 1, 0]))
        >>> listed.weights.tolist()
        [0.5, 0.0, 0.5]
    """
    weights = np.zeros(len(test_labels))
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        members = test_labels == label
        if not members.any():
            raise ValueError(
                f"forget: listed images are compared with test images of their class, but class "
                f"{label} has none; hold some out"
            )
        weights[members] = count / len(labels) / np.count_nonzero(members)
    return Listed(images, weights)


# eq=False: records of arrays are compared by identity.
@dataclass(frozen=True, eq=False)
class Reference:
    """What `make_reference` computes once from the test data.

    Attributes:
        test_fit: Gaussian of the judge's features of all test images.
        retained_fit: Gaussian of the judge's features of the retained test images.
        retained_features: `[r, d]`, for coverage and density.
        retained_radii: `[r]`, their `neighbor_radii` for `neighbors`.
        neighbors: k of coverage and density.
        image_shape: Height, width and channels of the test images.
        examples: All test examples, for the negative ELBO: `[n, height, width, channels]` images,
            or a pytree of arrays `[n, ...]`.
        forgotten: `[n]` bool, true for the images that show what is forgotten.
        feature: The judge's index of the forgotten class, or those of several; None if single
            images are forgotten.
        listed: The single images to forget; or None.
        feature_extractor: Name of the features, which reports print beside each Frechet distance.
        judge_accuracy: Accuracy of the judge on the test images.
        judge_errors: How often the judge finds the forgotten class on forgotten and on retained
            test images; None if single images are forgotten, or no test image shows the class.
    """

    test_fit: GaussianFit
    retained_fit: GaussianFit
    retained_features: np.ndarray
    retained_radii: np.ndarray
    neighbors: int
    image_shape: tuple[int, ...]
    examples: Examples
    forgotten: np.ndarray
    feature: Feature | None
    feature_extractor: str
    judge_accuracy: float
    listed: Listed | None = None
    judge_errors: JudgeErrors | None = None


def make_reference(
    judge: Classifier,
    judge_params: Any,
    images: np.ndarray,
    labels: np.ndarray,
    forgotten: np.ndarray,
    feature: Feature | None,
    *,
    listed: Listed | None = None,
    examples: Examples | None = None,
    neighbors: int = 5,
    batch_size: int = 1000,
) -> Reference:
    """Judges the test data once, for all models that are evaluated.

    Args:
        judge: The classifier behind fratio, IS, the Frechet distances and coverage.
        judge_params: Its parameters.
        images: `[n, height, width, channels]` test images, uint8 or floating in [0, 1].
        labels: `[n]` integers, the judge's class index of each image, for its accuracy.
        forgotten: `[n]` bool, true for the images that show what is forgotten. If none does,
            `evaluate` gives None for `nelbo_forget`.
        feature: The judge's index of the forgotten class, or those of several; None if single
            images are forgotten.
        listed: These images, from `listed_images`.
        examples: The test examples of a model of other things than images, such as
            `{"image": images, "label": labels}`, in the order of `images`.
        neighbors: k of coverage and density.
        batch_size: Images that are judged at a time.

    Returns:
        A `Reference`.

    Raises:
        ValueError: The lengths differ, `feature` or a label is not one of the judge's classes, too
            few test images are retained, or the judge gives values that are not finite.

    Example:
        >>> from gsu_jax.models import Prediction
        >>> def apply(params, images):
        ...     x = images.reshape(len(images), -1)
        ...     return Prediction(logits=x @ params, features=x)
        >>> judge = Classifier(init=None, apply=apply, features="two pixels")
        >>> images = np.float32([[1, 0], [0, 1], [1, 0], [0, 1]]).reshape(4, 1, 2, 1)
        >>> labels = np.array([0, 1, 0, 1])
        >>> reference = make_reference(
        ...     judge, np.eye(2), images, labels, labels == 1, feature=1, neighbors=1
        ... )
        >>> reference.judge_accuracy
        1.0
    """
    images, labels, forgotten = np.asarray(images), np.asarray(labels), np.asarray(forgotten)
    for name, array in (("labels", labels), ("forgotten", forgotten)):
        if array.shape != (len(images),):
            raise ValueError(
                f"{name} must be one for each of the {len(images)} images, got {array.shape}"
            )
    if examples is not None and number_of(examples) != len(images):
        raise ValueError(
            f"examples must be one for each of the {len(images)} images, got {number_of(examples)}"
        )
    if forgotten.dtype != bool:
        raise ValueError(f"forgotten must be a mask of bool, got {forgotten.dtype}")
    retained = np.count_nonzero(~forgotten)
    if retained <= neighbors:
        raise ValueError(
            f"forgotten leaves {retained} of {len(images)} test images retained; coverage with "
            f"neighbors={neighbors} needs at least {neighbors + 1}"
        )
    logits, features = judge_predictions(judge, judge_params, images, batch_size=batch_size)
    if not (np.isfinite(logits).all() and np.isfinite(features).all()):
        raise ValueError(
            "judge gives logits or features that are not finite on the test images; train it again"
        )
    classes = logits.shape[1]
    if feature is not None and not np.isin(feature, np.arange(classes)).all():
        raise ValueError(f"feature must be one of the judge's 0..{classes - 1}, got {feature}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels must be the judge's class indices 0..{classes - 1}, got "
            f"{labels.min()}..{labels.max()}; map the data set's own labels to positions first"
        )
    retained_features = features[~forgotten]
    return Reference(
        test_fit=fit_gaussian(features),
        retained_fit=fit_gaussian(retained_features),
        retained_features=retained_features,
        retained_radii=neighbor_radii(retained_features, neighbors),
        neighbors=neighbors,
        image_shape=images.shape[1:],
        examples=images if examples is None else check_examples(examples, "examples"),
        forgotten=forgotten,
        feature=feature,
        listed=listed,
        feature_extractor=judge.features,
        judge_accuracy=float(np.mean(logits.argmax(axis=1) == labels)),
        judge_errors=_errors(logits.argmax(axis=1), forgotten, feature),
    )


def _errors(
    predicted: np.ndarray, forgotten: np.ndarray, feature: Feature | None
) -> JudgeErrors | None:
    if feature is None or not forgotten.any():
        return None
    found = np.isin(predicted, feature)
    return JudgeErrors(
        *(Count(int(found[kind].sum()), int(kind.sum())) for kind in (forgotten, ~forgotten))
    )
