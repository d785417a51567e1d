"""The experiments of the command line: `gsu-jax digits` and its kin, one module each.

A module has the literals of its study and `main()`. The files of `experiments/` run them too.
"""

from gsu_jax.cli.experiments import (
    arena,
    diffusion,
    digits,
    faces,
    fashion,
    layers,
    mnist,
    mnist138,
    readings,
    series,
    single_image,
    sweep,
    theory,
    verdicts,
)

__all__ = [
    "arena",
    "diffusion",
    "digits",
    "faces",
    "fashion",
    "layers",
    "mnist",
    "mnist138",
    "readings",
    "series",
    "single_image",
    "sweep",
    "theory",
    "verdicts",
]
