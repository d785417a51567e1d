"""`python -m gsu_jax COMMAND ...`, the same as `gsu-jax COMMAND ...`."""

from gsu_jax.cli import console

if __name__ == "__main__":
    console()
