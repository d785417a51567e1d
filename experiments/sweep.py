"""Which learning rate and retain weight? Runs surgery with all of them in one compiled program.

The same as `gsu-jax sweep`: the settings are in `gsu_jax/cli/experiments/sweep.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("sweep")
else:  # for those who import its settings
    from gsu_jax.cli.experiments import sweep

    DIGITS = sweep.DIGITS
    MNIST = sweep.MNIST
    Arguments = sweep.Arguments
    config = sweep.config
