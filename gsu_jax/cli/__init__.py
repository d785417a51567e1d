"""Command lines: experiments, launch, report."""

from gsu_jax.cli._experiment import Arguments, answer, main, read_images, width

__all__ = [
    "Arguments",
    "answer",
    "main",
    "read_images",
    "width",
]
