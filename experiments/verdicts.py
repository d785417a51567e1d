"""Verdicts of each line of a verification, for several methods: see docs/experiments/verdicts.md.

The same as `gsu-jax verdicts`: the settings are in `gsu_jax/cli/experiments/verdicts.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("verdicts")
