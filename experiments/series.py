"""Answers removal requests one after the other, and all at once: see docs/experiments.

The same as `gsu-jax series`: the settings are in `gsu_jax/cli/experiments/series.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("series")
