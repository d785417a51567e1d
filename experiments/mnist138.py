"""Forget digit 1 of MNIST {1, 3, 8}: the class removal of Bae et al. 2023, Table 1, left half.

The same as `gsu-jax mnist138`: the settings are in `gsu_jax/cli/experiments/mnist138.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("mnist138")
else:  # for those who import its settings
    from gsu_jax.cli.experiments import mnist138

    CONFIG = mnist138.CONFIG
    METHODS = mnist138.METHODS
    PAPER = mnist138.PAPER
