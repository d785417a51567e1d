"""Can it be shown that single images were removed? A panel of images, with and without each.

The same as `gsu-jax single_image`: the settings are in `gsu_jax/cli/experiments/single_image.py`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("single_image")
else:  # for those who import its settings
    from gsu_jax.cli.experiments import single_image

    DIGITS = single_image.DIGITS
    MNIST138 = single_image.MNIST138
    Arguments = single_image.Arguments
