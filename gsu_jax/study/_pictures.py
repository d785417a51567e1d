"""Pictures of samples, one for each row of a study."""

from pathlib import Path
from typing import Any

from gsu_jax.models import GenerativeModel
from gsu_jax.report import save_grid
from gsu_jax.runtime import on_first_process
from gsu_jax.study._checkpointed_runs import named_key

SAMPLES = 100


def picture_path(folder: Path, row: str, seed: int) -> Path:
    """Returns where the samples of a row are drawn."""
    return folder / "samples" / f"{row}-{seed}.png"


@on_first_process
def save_picture(path: Path, model: GenerativeModel, params: Any) -> None:
    """Draws samples of a model; every model of a study decodes the same latents."""
    save_grid(path, model.sample(params, named_key("grid", 0), SAMPLES))


@on_first_process
def has_picture(path: Path) -> bool:
    """Returns whether the picture is drawn."""
    return path.exists()
