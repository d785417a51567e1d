"""Measures the claims of the paper's theory on small models of digits: see docs/theory.md.

The same as `gsu-jax theory`: the settings are in `gsu_jax/cli/experiments/theory.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("theory")
