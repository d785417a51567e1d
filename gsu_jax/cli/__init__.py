"""Command lines: experiments, launch, report."""

from gsu_jax.cli._experiment import answer, main, read_images, width

__all__ = [
    "answer",
    "main",
    "read_images",
    "width",
]
