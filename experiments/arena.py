"""Which method wins? Every method gets the same number of trials, then one run on closed requests.

The same as `gsu-jax arena`: the settings are in `gsu_jax/cli/experiments/arena.py`, the spaces of
the methods in `gsu_jax.study.SPACES`.
"""

from gsu_jax.cli import console

if __name__ == "__main__":
    console("arena")
else:  # for those who import its settings
    from gsu_jax.cli.experiments import arena

    ARENAS = arena.ARENAS
    Arguments = arena.Arguments
