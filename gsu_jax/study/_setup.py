"""`Setup`: what a study is about, once its config has met the data."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from gsu_jax.data import ClassRequest, Source, Split, parse_request
from gsu_jax.methods import Method
from gsu_jax.metrics import Listed, listed_images
from gsu_jax.models import Classifier, GenerativeModel
from gsu_jax.runtime import Placement
from gsu_jax.study._config import StudyConfig
from gsu_jax.study._networks import build_judge, build_model, fit_to_data


# eq=False: holds arrays, so that setups are compared by identity.
@dataclass(frozen=True, eq=False)
class Setup:
    """The images, the request and the networks of a study.

    Attributes:
        config: the study's config; shipped networks have the image shape, classes and channels of
            the data.
        source: the images.
        split: the training images to forget and to retain.
        attribute: what the judge tells apart: the data set's label, or an attribute.
        feature: the judge's indices of the classes to forget; None if single images are forgotten.
        listed: the single images to forget, with the test images of their classes; or None.
        forgotten: `[n]` bool, which test images show what is forgotten.
        model: the generative model.
        judge: the classifier behind fratio, IS and the Frechet distances.
        second_judge: another classifier, asked about the same samples; or None.
    """

    config: StudyConfig
    source: Source
    split: Split
    attribute: str
    feature: tuple[int, ...] | None
    listed: Listed | None
    forgotten: np.ndarray
    model: GenerativeModel
    judge: Classifier
    second_judge: Classifier | None = None


def resolve(config: StudyConfig, source: Source) -> Setup:
    """Parses the request, splits the images and builds the networks.

    Raises:
        ValueError: the request names nothing in the data, there are no test images, the judge has
            other classes, or the model draws images of another shape.
    """
    if not len(source.test):
        raise ValueError(
            f"{source.name} has no test images, which every metric of a study needs; leave "
            "holdout=0 out"
        )
    request = parse_request(config.forget, source)
    attribute, feature, listed = source.label, None, None
    halves, test = request.split(source)
    if isinstance(request, ClassRequest):
        attribute, feature = request.target(source)
    else:
        labels = [some.attributes[attribute] for some in (halves.forget, source.test)]
        listed = listed_images(halves.forget.images, *labels)
    config = fit_to_data(config, source, attribute)
    return Setup(
        config=config,
        source=source,
        split=halves,
        attribute=attribute,
        feature=feature,
        listed=listed,
        forgotten=test.mask,
        model=build_model(config, source),
        judge=build_judge(config.judge, source, attribute, "judge"),
        second_judge=None
        if config.second_judge is None
        else build_judge(config.second_judge, source, attribute, "second_judge"),
    )


def check_batches(setup: Setup, methods: Sequence[Method], mesh: jax.sharding.Mesh | None) -> None:
    """Raises ValueError if a batch does not divide over the mesh, before hours are spent."""
    place, images = Placement(mesh), len(setup.source.train)
    second = () if setup.second_judge is None else ("second_judging",)
    for name in ("judging", *second, "pretraining"):
        place.check_batch(min(getattr(setup.config, name).batch_size, images), name)
    for method in methods:
        if method.visits != "nothing":
            place.check_batch(method.batch_size, method.title)
            place.check_batch(method.retain_batch_size or method.batch_size, method.title)
