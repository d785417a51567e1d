"""Which reading of Bae et al. 2023 gives its MNIST figures? Its open choices, one row each.

The same as `gsu-jax readings`: the settings are in `gsu_jax/cli/experiments/readings.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("readings")
else:  # for those who import its settings
    from gsu_jax.cli.experiments import readings

    CONFIG = readings.CONFIG
    READINGS = readings.READINGS
