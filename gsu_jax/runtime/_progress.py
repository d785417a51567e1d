"""What a long computation says while it runs: bars on a terminal, plain lines elsewhere."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gsu_jax.runtime._processes import is_first

Stage = Callable[[int, str], None]

QUIET = "GSU_JAX_PROGRESS"  # the variable of the environment that turns lines off, by "off"
EVERY = 15.0  # seconds between two lines: a reader should not wait for more than 20
LONG = 1.0  # seconds after which an activity inside a stage is worth a line
TICK = 0.25  # seconds between two looks at the clock

_display: Any = None  # what shows the innermost stage that runs
_heading: list[str] = []  # said before the next stage's first line
_spoke = 0.0  # when the last line was said


@contextmanager
def stage(title: str, total: int, *, patience: float = 0.0) -> Iterator[Stage]:
    """Shows how far the block is, on standard error and on the first process alone.

    On a terminal it is a progress bar. Elsewhere it is one line at the start, one every 15 seconds,
    also while a unit takes long, and one at the end. `GSU_JAX_PROGRESS=off` in the environment
    turns these lines off.

    Args:
        title: The text in front.
        total: The number of units.
        patience: Seconds before the first line. A block that ends sooner prints nothing.

    Yields:
        `advance(units, now)`, which counts units and shows the text `now` behind them.

    Example:
        >>> with stage("pretraining", total=2) as advance:
        ...     advance(1, "seed 0")
        ...     advance(1, "seed 1")
    """
    console = _console()
    if console is not None and console.is_terminal:
        display: Any = _Bar(console, title, total)
    elif console is not None and os.environ.get(QUIET) != "off":
        display = _Lines(title, total, patience)
    else:
        yield _nothing
        return
    with _shown(display):
        yield display.advance


@contextmanager
def long_run(title: str) -> Iterator[None]:
    """Says where no terminal is that the block still runs: after 15 seconds without another line.

    Stages inside the block have lines of their own. This one is for what happens between them.

    Args:
        title: The text in front.
    """
    console = _console()
    try:
        if console is None or console.is_terminal or os.environ.get(QUIET) == "off":
            yield
        else:
            with _shown(_Lines(title)):
                yield
    finally:
        _heading.clear()


@contextmanager
def activity(text: str) -> Iterator[None]:
    """Names what takes time inside a stage, such as "compiling"; costs microseconds.

    Args:
        text: Shown as the stage's `now`, and in a line of its own after a second.
    """
    display = _display
    if display is None:
        yield
        return
    display.begin(text)
    try:
        yield
    finally:
        display.end()


def announce(text: str) -> None:
    """Keeps a line for the next stage of this run that prints lines; a terminal shows none."""
    _heading[:] = [text]


def _console() -> Any:
    """The standard error of the first process, None for that of the others."""
    if not is_first() or sys.stderr is None:
        return None
    # Imported here because the core does not need rich.
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def _shown(display: Any) -> Iterator[None]:
    global _display
    outer, _display = _display, display
    try:
        with display:
            yield
    finally:
        _display = outer


class _Bar:
    """A progress bar with the remaining time."""

    def __init__(self, console: Any, title: str, total: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}"),
        )
        # What a block prints stands above the bar, but goes where standard output goes.
        to_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._bars = Progress(*columns, console=console, redirect_stdout=to_terminal)
        self._now = ""
        self._bar = self._bars.add_task(title, total=total, now="")

    def __enter__(self) -> None:
        self._bars.start()

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def advance(self, units: int, now: str = "") -> None:
        self._now = now
        self._bars.update(self._bar, advance=units, now=now)

    def begin(self, text: str) -> None:
        self._bars.update(self._bar, now=f"{self._now}, {text}".removeprefix(", "))

    def end(self) -> None:
        self._bars.update(self._bar, now=self._now)


class _Lines:
    """Plain lines, from a thread that ends with the block. Without a total: only if it is long."""

    def __init__(self, title: str, total: int | None = None, patience: float = 0.0) -> None:
        self._title, self._total, self._patience = title, total, patience
        self._done, self._now = 0, ""
        self._activity: tuple[str, float] | None = None  # its text, and when it began
        self._started, self._said_activity = False, False
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        global _spoke
        self._begun = _spoke = time.monotonic()
        self._basis = (self._begun, 0)
        if self._total is not None and not self._patience:
            self._start()
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._started:
            end = "done" if kind is None else "stopped"
            self._say(f"{end}, {self._count()}, {_duration(time.monotonic() - self._begun)}")

    def advance(self, units: int, now: str = "") -> None:
        with self._lock:
            self._done, self._now = self._done + units, now
            if (clock := time.monotonic()) - self._begun < LONG:
                # Units that a resumed run has already say nothing about the speed.
                self._basis = (clock, self._done)

    def begin(self, text: str) -> None:
        with self._lock:
            self._activity, self._said_activity = (text, time.monotonic()), False

    def end(self) -> None:
        with self._lock:
            self._activity = None

    def _watch(self) -> None:
        while not self._over.wait(TICK):
            with self._lock:
                clock = time.monotonic()
                new = self._activity is not None and not self._said_activity
                if _display is not self:  # a stage inside this block speaks
                    continue
                if self._total is not None and not self._started:
                    if clock - self._begun >= self._patience:
                        self._start()
                elif clock - _spoke >= EVERY or (new and clock - self._activity[1] >= LONG):
                    self._said_activity = self._activity is not None
                    self._say(self._state(clock))

    def _start(self) -> None:
        self._started = True
        for line in _heading:
            _print(line)
        _heading.clear()
        self._say(self._count())

    def _state(self, clock: float) -> str:
        """Units, time, what is left, and what happens now."""
        parts = [_duration(clock - self._begun)]
        if self._total is not None:
            parts.insert(0, self._count())
        since, known = self._basis
        if self._done > known:
            left = (clock - since) / (self._done - known) * (self._total - self._done)
            parts.append(f"{_duration(left)} left")
        parts += [text for text in (self._now, self._activity and self._activity[0]) if text]
        return ", ".join(parts)

    def _count(self) -> str:
        return f"{self._done} of {self._total}"

    def _say(self, text: str) -> None:
        global _spoke
        _spoke = time.monotonic()
        _print(f"{self._title}: {text}")


def _print(line: str) -> None:
    with suppress(OSError, ValueError):  # nobody listens any more
        print(line, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """Formats "8 s", "3 min 20 s", "2 h 5 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _nothing(units: int, now: str = "") -> None:
    """Stands for `advance` where nothing is shown."""
