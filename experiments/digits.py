"""Forget a digit of scikit-learn's 8x8 digits: the whole protocol in minutes, with no download.

The same as `gsu-jax digits`: the settings are in `gsu_jax/cli/experiments/digits.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("digits")
else:  # for those who import its settings
    from gsu_jax.cli.experiments import digits

    CONFIG = digits.CONFIG
    ROWS = digits.ROWS
