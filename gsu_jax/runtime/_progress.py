"""A progress bar with the remaining time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gsu_jax.runtime._processes import is_first

Stage = Callable[[int, str], None]


@contextmanager
def stage(title: str, total: int) -> Iterator[Stage]:
    """Shows a progress bar while the block runs; silent off a terminal and on other processes.

    Args:
        title: The text in front of the bar.
        total: The number of units.

    Yields:
        `advance(units, now)`, which moves the bar and shows the text `now` behind it.

    Example:
        >>> with stage("pretraining", total=2) as advance:
        ...     advance(1, "seed 0")
        ...     advance(1, "seed 1")
    """
    # Imported here because the core does not need rich.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}"),
    )
    silent = not (console.is_terminal and is_first())
    with Progress(*columns, console=console, disable=silent) as bars:
        bar = bars.add_task(title, total=total, now="")

        def advance(units: int, now: str = "") -> None:
            bars.update(bar, advance=units, now=now)

        yield advance
