"""What a study is, apart from how many seeds and which methods it has so far."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gsu_jax.models import CLASSIFIER_CONFIGS, GENERATOR_CONFIGS, AllCNNConfig, check_config
from gsu_jax.study._pretraining import Recipe


@dataclass(frozen=True)
class StudyConfig:
    """Settings of `run_study`.

    Attributes:
      experiment: its name.
      dataset: as for `gsu_jax.data.load`.
      classes: of the data set's label, to keep; None keeps all.
      forget: what is to be forgotten, as for `--forget`.
      model: the generator's config, one of `gsu_jax.models.GENERATORS`; its image shape becomes
        that of the data.
      image_size: pixels to crop and resize the images to, as for `load`; None leaves them.
      judge: the config of the classifier behind fratio, IS and the Frechet distances, one of
        `gsu_jax.models.CLASSIFIERS`; its classes and channels become those of the data.
      judge_gate: test accuracy below which the study stops.
      pretraining: of the generator, for `before` and `retrain` alike.
      judging: of the judge.
      epochs: of unlearning.
      ensemble: seeds of `retrain`, at least: the yardstick wants more of them than a method does.
      samples: drawn from each model.
      published: figures to print beside the study's own: method -> metric -> text.
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
        for name, least in (("epochs", 0), ("ensemble", 0), ("samples", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, found {getattr(self, name)}.")

    def record(self) -> dict[str, Any]:
        """What results.json keeps of it: everything but `published`, the two configs by type."""
        record = asdict(self)
        del record["published"]
        for name in ("model", "judge"):
            record[name] = {"type": type(getattr(self, name)).__name__} | record[name]
        return record
