"""Forget a class with a diffusion model: digit 1 of MNIST {1, 3, 8} by default.

The same as `gsu-jax diffusion`: the settings are in `gsu_jax/cli/experiments/diffusion.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("diffusion")
else:  # for those who import its settings
    from gsu_jax.cli.experiments import diffusion

    DIGITS = diffusion.DIGITS
    FASHION = diffusion.FASHION
    METHODS = diffusion.METHODS
    MNIST = diffusion.MNIST
