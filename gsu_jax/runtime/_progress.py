"""Progress on a terminal, with the time that is left; silent elsewhere, and on other processes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gsu_jax.runtime._processes import is_first

Stage = Callable[[int, str], None]


@contextmanager
def stage(title: str, total: int) -> Iterator[Stage]:
    """A bar of `total` units for the length of the block: `advance(units, "what is done now")`."""
    # Imported here: the core does without rich.
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
