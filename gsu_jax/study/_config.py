"""`StudyConfig`: what a study is, apart from its methods and its number of seeds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gsu_jax.checks import at_least
from gsu_jax.models import CLASSIFIER_CONFIGS, GENERATOR_CONFIGS, AllCNNConfig, check_config
from gsu_jax.study._pretraining import Recipe


@dataclass(frozen=True)
class StudyConfig:
    """The settings of `run_study`.

    Attributes:
        experiment: its name.
        dataset: as for `gsu_jax.data.load`.
        forget: what to forget, as for `--forget`.
        model: the generator's config, one of `gsu_jax.models.GENERATOR_CONFIGS`; its image shape
            becomes that of the data.
        classes: of the data set's label, to keep; None keeps all.
        image_size: pixels to crop and resize the images to, as for `load`; None leaves them.
        judge: the config of the classifier behind fratio, IS and the Frechet distances, one of
            `gsu_jax.models.CLASSIFIER_CONFIGS`; its classes and channels become those of the data.
        judge_gate: test accuracy below which the study stops.
        pretraining: of the generators, for `before` and `retrain` alike.
        judging: of the judge.
        epochs: of unlearning.
        ensemble: the least number of retrained models.
        samples: drawn from each model.
        published: figures to print beside the study's own: method -> metric -> text.

    Raises:
        TypeError: `model` or `judge` is not a config of this package.
        ValueError: a number is out of range.

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
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_config("model", GENERATOR_CONFIGS, self.model)
        check_config("judge", CLASSIFIER_CONFIGS, self.judge)
        at_least(0, epochs=self.epochs, ensemble=self.ensemble)
        at_least(2, samples=self.samples)

    def record(self) -> dict[str, Any]:
        """Returns what results.json keeps: all but `published`, with the types of both networks."""
        record = asdict(self)
        del record["published"]
        for name in ("model", "judge"):
            record[name] = {"type": type(getattr(self, name)).__name__} | record[name]
        return record
