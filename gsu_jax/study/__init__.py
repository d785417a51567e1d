"""The paper's protocol, resumable; sweeps of settings; and the arena of all methods."""

from gsu_jax.study._arena import ArenaResults, run_arena
from gsu_jax.study._choice import choose_config
from gsu_jax.study._config import StudyConfig
from gsu_jax.study._load import StudyModel, load
from gsu_jax.study._logger import Logger
from gsu_jax.study._pretraining import Recipe, start_training, train_epoch
from gsu_jax.study._spaces import DIFFUSION_SPACES, SPACES, draw_trials, spaces_for
from gsu_jax.study._study import run_study
from gsu_jax.study._sweep import SweepResults, run_sweep

__all__ = [
    "DIFFUSION_SPACES",
    "SPACES",
    "ArenaResults",
    "Logger",
    "Recipe",
    "StudyConfig",
    "StudyModel",
    "SweepResults",
    "choose_config",
    "draw_trials",
    "load",
    "run_arena",
    "run_study",
    "run_sweep",
    "spaces_for",
    "start_training",
    "train_epoch",
]
