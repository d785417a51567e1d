"""Which layers conflict, and is it worth anything to treat them apart? Recon, for unlearning.

The same as `gsu-jax layers`: the settings are in `gsu_jax/cli/experiments/layers.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("layers")
