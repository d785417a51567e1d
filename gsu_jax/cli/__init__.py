"""Command lines: experiments, launch, report."""

from gsu_jax.cli._experiment import main, read_images, run_command, terminal_width

__all__ = [
    "main",
    "read_images",
    "run_command",
    "terminal_width",
]
