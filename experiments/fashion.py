"""Forget one class of Fashion-MNIST (--forget Sandal, Bag, ...), with the settings of mnist138.py.

The same as `gsu-jax fashion`: the settings are in `gsu_jax/cli/experiments/fashion.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("fashion")
else:  # for those who import its settings
    from gsu_jax.cli.experiments import fashion

    CONFIG = fashion.CONFIG
