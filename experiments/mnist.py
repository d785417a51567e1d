"""Forget one digit of all ten of MNIST (--forget 1, 4, 9, ...), with the settings of mnist138.py.

The same as `gsu-jax mnist`: the settings are in `gsu_jax/cli/experiments/mnist.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("mnist")
else:  # for those who import its settings
    from gsu_jax.cli.experiments import mnist

    CONFIG = mnist.CONFIG
