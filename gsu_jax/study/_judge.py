"""`Judge`: a classifier that says what a model's samples show."""

from functools import cached_property
from typing import Any

import jax
import numpy as np

from gsu_jax.metrics import (
    SECOND_METRICS,
    Reference,
    corrected_fratio,
    draw_samples,
    evaluate,
    make_reference,
    sample_metrics,
)
from gsu_jax.models import Classifier, GenerativeModel
from gsu_jax.runtime import on_first_process
from gsu_jax.study._checkpointed_runs import Network, train_missing
from gsu_jax.study._setup import Setup
from gsu_jax.study._state import Study

FIRST, SECOND = "judge", "second_judge"
RECIPES = {FIRST: "judging", SECOND: "second_judging"}


class Judge:
    """A trained judge: all processes train it, process 0 asks it.

    Attributes:
        setup: the study's images and networks.
        classifier: the network.
        params: of the classifier.
    """

    def __init__(self, setup: Setup, classifier: Classifier, params: Any) -> None:
        self.setup, self.classifier, self.params = setup, classifier, params

    @cached_property
    def reference(self) -> Reference:
        """The test images as the judge sees them."""
        setup, test = self.setup, self.setup.source.test
        labels = _labels(setup, test)
        return make_reference(
            self.classifier,
            self.params,
            test.images,
            labels,
            setup.forgotten,
            setup.feature,
            listed=setup.listed,
        )

    @on_first_process
    def facts(self) -> dict[str, Any]:
        """Returns what results.json says of the judge: its features, accuracy and errors."""
        errors = self.reference.judge_errors
        return {
            "feature_extractor": self.classifier.features,
            "judge_accuracy": self.reference.judge_accuracy,
            "judge_errors": errors
            and {name: list(count) for name, count in errors._asdict().items()},
        }

    @on_first_process
    def evaluate(
        self,
        model: GenerativeModel,
        params: Any,
        key: jax.Array,
        samples: int,
        second: "Judge | None" = None,
    ) -> dict:
        """Returns the metrics of one model, without phi, and those of a second judge if any.

        Both see the same samples, drawn once.
        """
        judge = self.classifier, self.params, self.reference
        if second is None:
            return evaluate(model, params, *judge, key, samples=samples, phi_images=0)
        drawn = list(draw_samples(model, params, key, samples))
        row = evaluate(model, params, *judge, key, samples=samples, phi_images=0, drawn=drawn)
        return row | second._second_metrics(
            model, params, key, samples, diverged=bool(row["diverged"]), drawn=drawn
        )

    @on_first_process
    def judge_again(
        self, model: GenerativeModel, params: Any, key: jax.Array, samples: int, diverged: bool
    ) -> dict[str, float | None]:
        """Returns `SECOND_METRICS`, from the samples that `evaluate` draws with the same key.

        A model that the first judge found diverged has none.
        """
        return self._second_metrics(model, params, key, samples, diverged=diverged, drawn=None)

    def _second_metrics(self, model, params, key, samples, *, diverged, drawn):
        if diverged:
            return dict.fromkeys(SECOND_METRICS)
        judge = self.classifier, self.params, self.reference
        seen = sample_metrics(model, params, *judge, key, samples=samples, drawn=drawn)
        return {name: seen.get(metric) for name, metric in SECOND_METRICS.items()}

    @on_first_process
    def correct(self, fratio: float | None, samples: int) -> dict[str, float | None]:
        """Returns the corrected share of a finished row."""
        return corrected_fratio(fratio, samples, self.reference)


def train_judge(study: Study, name: str = FIRST) -> Judge:
    """Returns a judge from its checkpoint, trained first if there is none.

    Args:
        study: the study, with the images, the classifiers and the checkpoints.
        name: "judge" or "second_judge", which is also the name of its checkpoint and of its seed.

    Raises:
        ValueError: its accuracy lies below its gate.
    """
    setup = study.setup
    classifier: Classifier = getattr(setup, name)
    made_with = study.results.made_with(name, RECIPES[name]) | {"attribute": setup.attribute}
    recipe = getattr(setup.config, RECIPES[name])
    network = Network(name, classifier.init, classifier.loss, recipe, made_with)
    data = (setup.source.train.images, _labels(setup, setup.source.train))
    trained = train_missing(study.store, network, data, [0], study.mesh)
    judge = Judge(setup, classifier, trained[0].params)
    _keep_facts(study, name, judge.facts())
    return judge


def _keep_facts(study: Study, name: str, facts: dict[str, Any]) -> None:
    """Writes what results.json says of a judge, and checks its gate."""
    reference = study.results.content["reference"]
    if name == SECOND:
        reference.setdefault(SECOND, {})
        reference = reference[SECOND]
    reference |= facts
    study.results.save()
    accuracy, gate = facts["judge_accuracy"], getattr(study.setup.config, f"{name}_gate")
    if accuracy < gate:
        where = "in another --out"
        if name == SECOND:
            where = "or lower second_judge_gate, or give second_judge=None: the study goes on"
        raise ValueError(
            f"{name}_gate must be reached by the judge, got {accuracy:.1%} on the test images with "
            f"a gate of {gate:.1%}: its fratio would mean nothing; train it longer "
            f"({RECIPES[name]}) or take a larger one ({name}), {where}"
        )


def _labels(setup: Setup, images: Any) -> np.ndarray:
    return images.attributes[setup.attribute].astype(np.int32)
