"""Forget a feature of faces, Male by default: Bae et al. 2023, Table 1, right half.

The same as `gsu-jax faces`: the settings are in `gsu_jax/cli/experiments/faces.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("faces")
else:  # for those who import its settings
    from gsu_jax.cli.experiments import faces

    CELEB_A = faces.CELEB_A
    FAIRFACE = faces.FAIRFACE
    METHODS = faces.METHODS
    PAPER = faces.PAPER
    SPRITES = faces.SPRITES
    adjust = faces.adjust
