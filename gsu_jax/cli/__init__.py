"""Command lines: `gsu-jax` and its commands, and what the experiments share."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gsu_jax.cli._console import console

if TYPE_CHECKING:
    from gsu_jax.cli._experiment import main, read_images, run_command, terminal_width

__all__ = [
    "console",
    "main",
    "read_images",
    "run_command",
    "terminal_width",
]


def __getattr__(name: str) -> Any:
    """Imports the command line of an experiment when it is first used: it needs JAX."""
    if name in __all__:
        return getattr(import_module(f"{__name__}._experiment"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
