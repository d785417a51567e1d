"""`Judge`: the classifier that says what a model's samples show."""

from functools import cached_property
from typing import Any

import jax
import numpy as np

from gsu_jax.metrics import Reference, evaluate, make_reference
from gsu_jax.models import GenerativeModel
from gsu_jax.runtime import on_first_process
from gsu_jax.storage import Artifacts
from gsu_jax.study._checkpointed_runs import Network, train_missing
from gsu_jax.study._setup import Setup


class Judge:
    """A trained judge: all processes train it, process 0 asks it.

    Attributes:
        setup: the study's images and networks.
        params: of the classifier.
    """

    def __init__(self, setup: Setup, params: Any) -> None:
        self.setup, self.params = setup, params

    @cached_property
    def reference(self) -> Reference:
        """The test images as the judge sees them."""
        setup, test = self.setup, self.setup.source.test
        labels = _labels(setup, test)
        return make_reference(
            setup.judge,
            self.params,
            test.images,
            labels,
            setup.forgotten,
            setup.feature,
            listed=setup.listed,
        )

    @on_first_process
    def accuracy(self) -> float:
        """Returns the share of test images that the judge classifies correctly."""
        return self.reference.judge_accuracy

    @on_first_process
    def evaluate(self, model: GenerativeModel, params: Any, key: jax.Array, samples: int) -> dict:
        """Returns the metrics of one model."""
        return evaluate(
            model,
            params,
            self.setup.judge,
            self.params,
            self.reference,
            key,
            samples=samples,
            phi_images=self.setup.config.phi_images,
        )


def train_judge(
    store: Artifacts, setup: Setup, made_with: dict[str, Any], mesh: jax.sharding.Mesh | None
) -> Judge:
    """Returns the judge from its checkpoint, trained first if there is none.

    Args:
        store: where the checkpoint is kept.
        setup: the images and the classifier.
        made_with: the data and the settings that the judge depends on.
        mesh: devices to share each batch over.
    """
    made_with = made_with | {"attribute": setup.attribute}
    network = Network("judge", setup.judge.init, setup.judge.loss, setup.config.judging, made_with)
    data = (setup.source.train.images, _labels(setup, setup.source.train))
    return Judge(setup, train_missing(store, network, data, [0], mesh)[0].params)


def check_gate(accuracy: float, gate: float) -> None:
    """Raises ValueError if the judge's accuracy lies below its gate."""
    if accuracy < gate:
        raise ValueError(
            f"judge_gate must be reached by the judge, got {accuracy:.1%} on the test images with "
            f"a gate of {gate:.1%}: its fratio would mean nothing; train it longer (judging) or "
            "take a larger one (judge), in another --out"
        )


def _labels(setup: Setup, images: Any) -> np.ndarray:
    return images.attributes[setup.attribute].astype(np.int32)
