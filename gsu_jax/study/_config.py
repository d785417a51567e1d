"""`StudyConfig`: what a study is, apart from its methods and its number of seeds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from gsu_jax.checks import at_least, at_most
from gsu_jax.models import (
    CLASSIFIER_CONFIGS,
    GENERATOR_CONFIGS,
    AllCNNConfig,
    Classifier,
    GenerativeModel,
)
from gsu_jax.study._pretraining import Recipe

PHI_IMAGES = 128
NETWORKS = (*GENERATOR_CONFIGS, *CLASSIFIER_CONFIGS)
SECOND = ("second_judge", "second_judge_gate", "second_judging")


@dataclass(frozen=True)
class StudyConfig:
    """The settings of `run_study`.

    A `GenerativeModel` or `Classifier` of one's own stands in results.json and in the checkpoints
    by its name alone. Change the name when the model changes: a study with the old name takes the
    models in its folder for those of the new one.

    Attributes:
        experiment: its name.
        dataset: as for `gsu_jax.data.load`.
        forget: what to forget, as for `--forget`.
        model: the generator: a config out of `gsu_jax.models.GENERATOR_CONFIGS`, whose image shape
            becomes that of the data; or a `GenerativeModel` with a name.
        classes: of the data set's label, to keep; None keeps all.
        image_size: pixels to crop and resize the images to, as for `load`; None leaves them.
        judge: the classifier behind fratio, IS and the Frechet distances: a config out of
            `gsu_jax.models.CLASSIFIER_CONFIGS`, whose classes and channels become those of the
            data; or a `Classifier` with a name and one logit for each class of the data.
        judge_gate: test accuracy below which the study stops.
        second_judge: a classifier of another architecture, as for `judge`, which judges the same
            samples and has a seed of its own; None for one judge alone.
        second_judge_gate: as `judge_gate`, of the second judge.
        second_judging: the training of the second judge.
        pretraining: of the generators, for `before` and `retrain` alike.
        judging: of the judge.
        epochs: of unlearning.
        ensemble: the least number of retrained models.
        samples: drawn from each model.
        phi_images: retained and forgotten test images each for phi, which takes most of the time of
            measuring a model; 0 leaves phi out.
        published: figures to print beside the study's own: method -> metric -> text.

    Raises:
        TypeError: `model`, `judge` or `second_judge` is neither a config of this package nor a
            model, or `forget` is no text.
        ValueError: a model has no name; a number is out of range.

    Example:
        >>> from gsu_jax.models import MLPVAEConfig
        >>> config = StudyConfig("example", dataset="digits", forget="1", model=MLPVAEConfig())
        >>> config.record()["model"]["type"]
        'MLPVAEConfig'
    """

    experiment: str
    dataset: str
    forget: str
    model: Any
    classes: tuple[str, ...] | None = None
    image_size: int | None = None
    judge: Any = field(default_factory=AllCNNConfig)
    judge_gate: float = 0.95
    pretraining: Recipe = Recipe()
    judging: Recipe = Recipe(epochs=6, learning_rate=3e-3, one_cycle=True)
    epochs: int = 1
    ensemble: int = 8
    samples: int = 10_000
    phi_images: int = PHI_IMAGES
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    second_judge: Any = None
    second_judge_gate: float = 0.8
    second_judging: Recipe = Recipe(epochs=6, learning_rate=3e-3, one_cycle=True)

    def __post_init__(self) -> None:
        if not isinstance(self.forget, str):  # results.json records it
            raise TypeError(
                'forget must be text, as for --forget: "1", "Bag,Sandal", "shape=heart", '
                f'"indices:0,5" or "files:a.png", got {self.forget!r:.80}'
            )
        _check_network("model", GENERATOR_CONFIGS, GenerativeModel, self.model)
        _check_network("judge", CLASSIFIER_CONFIGS, Classifier, self.judge)
        if self.second_judge is not None:
            _check_network("second_judge", CLASSIFIER_CONFIGS, Classifier, self.second_judge)
        at_least(0, epochs=self.epochs, ensemble=self.ensemble)
        at_least(2, samples=self.samples)
        at_least(0, phi_images=self.phi_images)
        gates = {"judge_gate": self.judge_gate, "second_judge_gate": self.second_judge_gate}
        at_least(0, **gates)
        at_most(1, **gates)

    def record(self) -> dict[str, Any]:
        """Returns what results.json keeps, with the types of the networks.

        That is all but `published`, without a second judge all but its settings, and `phi_images`
        if it is not the default. Results of earlier releases have no such entries.
        """
        left_out = {"published"} | ({*SECOND} if self.second_judge is None else set())
        if self.phi_images == PHI_IMAGES:
            left_out.add("phi_images")
        names = [field.name for field in fields(self) if field.name not in left_out]
        return {name: _plain(getattr(self, name)) for name in names}


def is_own(network: Any) -> bool:
    """Returns whether a study's `model` or `judge` is one of the user's, not a shipped config."""
    return isinstance(network, GenerativeModel | Classifier)


def _check_network(argument: str, shipped: tuple[type, ...], kind: type, network: Any) -> None:
    """Raises an error unless `network` is a shipped config, or of the kind and has a name."""
    if isinstance(network, kind):
        if not isinstance(network.name, str) or not network.name:
            raise ValueError(
                f"{argument} must have a name, which results.json records, got a {kind.__name__} "
                f"with name={network.name!r}; give {kind.__name__}(..., name='my-{argument}-1')"
            )
    elif type(network) not in shipped:
        known = ", ".join(config.__name__ for config in shipped)
        raise TypeError(
            f"{argument} must be one of {known}, or a {kind.__name__} with a name, got "
            f"{type(network).__name__}"
        )


def _plain(value: Any) -> Any:
    """Returns a setting as JSON's types; functions of the user are not walked into."""
    if is_own(value):
        kind = GenerativeModel if isinstance(value, GenerativeModel) else Classifier
        return {"type": kind.__name__, "name": value.name}
    if not is_dataclass(value):
        return value
    kind, added = type(value), getattr(value, "added", ())
    left_out = {name for name in added if getattr(value, name) == getattr(kind, name)}
    settings = {name: found for name, found in asdict(value).items() if name not in left_out}
    return ({"type": type(value).__name__} if type(value) in NETWORKS else {}) | settings
