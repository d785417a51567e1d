"""The command line that all experiments share."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from gsu_jax.methods import METHODS, get_method


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line; None is the experiment's own setting."""

    forget: str | None = None
    """What to forget: a class ("1"), or an attribute ("Male", "shape=heart")."""
    dataset: str | None = None
    """Another data set: a TFDS name, "digits", an .npz, or a folder of images."""
    methods: tuple[str, ...] = ("all",)
    """Rows of the table: "all", or names."""
    seeds: int | None = None
    """How many models to train and unlearn: seeds 0 to N - 1."""
    epochs: int | None = None
    """Epochs of unlearning; one is the paper's one-shot."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of TFDS data sets; by default $TFDS_DATA_DIR."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where results go; by default runs/NAME. The same command again resumes."""


def main(config: Callable[[], "StudyConfig"], *, seeds: int) -> None:  # noqa: F821
    """Runs an experiment from the command line: `config()` is its study, `seeds` the default.

    A mistake ends in one message on standard error and exit code 2, Ctrl-C in 130; set
    GSU_JAX_TRACEBACK=1 to see where an error came from.
    """
    # Parsed before JAX and Flax are imported, so that --help and typing errors answer at once.
    description = sys.modules["__main__"].__doc__
    arguments = tyro.cli(Arguments, description=description)
    try:
        print(_run(config, arguments, seeds))
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("GSU_JAX_TRACEBACK"):
            raise
        sys.exit(_refusal(str(error)))
    except KeyboardInterrupt:
        print("\ninterrupted; the same command again goes on from here", file=sys.stderr)
        sys.exit(130)


def _refusal(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _run(config: Callable, arguments: Arguments, seeds: int) -> str:
    """Runs the study and returns what is printed at the end."""
    names = METHODS if arguments.methods == ("all",) else arguments.methods
    methods = [get_method(name) for name in dict.fromkeys(names)]

    from gsu_jax.data import load
    from gsu_jax.progress import stage
    from gsu_jax.report import terminal_table
    from gsu_jax.study import run_study

    study = config()
    given = ("forget", "dataset", "epochs")
    changes = {
        name: getattr(arguments, name) for name in given if getattr(arguments, name) is not None
    }
    study = replace(study, **changes)
    seeds = seeds if arguments.seeds is None else arguments.seeds
    out = arguments.out or Path("runs") / study.experiment
    with stage("read images", 1) as advance:
        source = load(study.dataset, data_dir=arguments.data_dir, classes=study.classes)
        advance(1)
    results = run_study(study, source, out, methods=methods, seeds=seeds)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return f"{terminal_table(results, width=width)}\n\nreport: {out / 'report.html'}"
