"""`gsu-jax COMMAND ...`, and the same as `python -m gsu_jax COMMAND ...`."""

import difflib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

# Each command: the module whose `main()` runs it, and its line of help. A module is imported when
# its command runs, so that --help need not wait for JAX.
EXPERIMENTS = {
    "digits": "forget a digit of scikit-learn's 8x8 digits: minutes, no download",
    "mnist138": "forget the 1 of MNIST {1, 3, 8}: Bae et al. 2023, Table 1, left half",
    "mnist": "forget one digit of all ten of MNIST",
    "fashion": "forget one class of Fashion-MNIST",
    "faces": "forget a feature of faces: Bae et al. 2023, Table 1, right half",
    "diffusion": "forget a class with a diffusion model: digits in minutes, or MNIST {1, 3, 8}",
    "readings": "the open choices of the paper, one row each",
    "sweep": "learning rates and retain weights of surgery in one program",
    "arena": "every method with the same number of trials, then once on closed requests",
    "series": "removal requests one after the other, against all of them at once",
    "verdicts": "verdicts of every line of an audit, for several methods and their yardstick",
    "single_image": "whether the removal of single images can be shown at all",
    "layers": "which layers conflict, and what it is worth to treat them apart",
    "theory": "measure the claims of the paper's theory on small models",
}
COMMANDS = {
    name: (f"gsu_jax.cli.experiments.{name}", line) for name, line in EXPERIMENTS.items()
} | {
    "run": ("gsu_jax.cli._run", "a study of your own images: gsu-jax run FOLDER --forget CLASS"),
    "report": ("gsu_jax.cli._report", "print the table or the page of a finished run"),
    "removal": ("gsu_jax.cli._removal", "answer a removal request: plan, run, verify; the ledger"),
    "launch": ("gsu_jax.cli._launch", "run a script as several processes"),
}


def console(command: str | None = None) -> None:
    """Runs a command of `gsu-jax`.

    A mistake ends in one line on standard error and exit code 2, Ctrl-C in exit code 130.

    Args:
        command: its name, with its options in `sys.argv[1:]`; None if `sys.argv[1]` is the name.
    """
    try:
        if command is None:
            command = _command()
        with _ended_by_interruption():
            module = import_module(COMMANDS[command][0])
        code = module.main()
    except KeyboardInterrupt:  # an experiment that has begun catches it itself
        print("\ninterrupted", file=sys.stderr)
        code = 130
    except ImportError as error:
        if os.environ.get("GSU_JAX_TRACEBACK"):
            raise
        code = _mistake(say_how_to_install(error))
    if code:
        sys.exit(code)


def say_how_to_install(error: ImportError) -> str:
    """Returns the message of an error, with the line that installs what is missing."""
    said = str(error)
    if "pip install" in said:
        return said
    return f'{said}. Install what it needs: pip install "gsu-jax[experiments]"'


@contextmanager
def _ended_by_interruption() -> Iterator[None]:
    """Makes Ctrl-C end the program at once, which has done nothing yet.

    An extension in C that is being imported turns the exception into another one, or forgets it.
    """

    def end(*_: object) -> None:
        os.write(2, b"\ninterrupted\n")
        os._exit(130)

    earlier = signal.getsignal(signal.SIGINT)
    watched = earlier is signal.default_int_handler
    watched = watched and threading.current_thread() is threading.main_thread()
    if watched:
        signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        if watched:
            signal.signal(signal.SIGINT, earlier)


def _command() -> str:
    """Takes the name of the command off `sys.argv`; ends the program if there is none to run."""
    name, *rest = sys.argv[1:] or [""]
    if name in ("-h", "--help"):
        print(_help())
        sys.exit(0)
    if name == "--version":
        print(f"gsu-jax {sys.modules['gsu_jax'].__version__}")
        sys.exit(0)
    if name not in COMMANDS:
        near = difflib.get_close_matches(name.lower(), COMMANDS, n=1)
        question = f" Did you mean {near[0]!r}?" if near else ""
        found = f"unknown command {name!r}." if name else "which command?"
        sys.exit(_mistake(f"{found}{question} Known: {', '.join(COMMANDS)}"))
    sys.argv = [f"gsu-jax {name}", *rest]
    return name


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: gsu-jax COMMAND [OPTIONS]",
            "",
            "Makes a trained generative model forget, and shows that it worked.",
            "",
            *lines,
            "",
            "gsu-jax COMMAND --help lists the options of a command; gsu-jax --version the version.",
        ]
    )


def _mistake(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
