"""What a study is, apart from how many seeds and which methods it has so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gsu_jax.models import MLPVAEConfig
from gsu_jax.training import Recipe


@dataclass(frozen=True)
class StudyConfig:
    """Settings of `run_study`.

    Attributes:
      experiment: its name.
      dataset: as for `gsu_jax.data.load`.
      classes: of the data set's label, to keep; None keeps all.
      forget: what is to be forgotten, as for `--forget`.
      model: the generator; its image shape becomes that of the data.
      judge_widths: of the AllCNN behind fratio, IS and the Frechet distances.
      judge_gate: test accuracy below which the study stops.
      pretraining: of the generator, for `before` and `retrain` alike.
      judging: of the judge.
      epochs: of unlearning.
      samples: drawn from each model.
      published: figures to print beside the study's own: method -> metric -> text.
    """

    experiment: str
    dataset: str
    forget: str
    model: MLPVAEConfig
    classes: tuple[str, ...] | None = None
    judge_widths: tuple[int, int] = (16, 32)
    judge_gate: float = 0.95
    pretraining: Recipe = Recipe()
    judging: Recipe = Recipe(epochs=6, learning_rate=3e-3, one_cycle=True)
    epochs: int = 1
    samples: int = 10_000
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("samples", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, found {getattr(self, name)}.")
