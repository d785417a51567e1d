"""The command line that all experiments share."""

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

from gsu_jax.checks import import_extra, listing, unknown
from gsu_jax.cli._able import able
from gsu_jax.cli._beta import with_beta
from gsu_jax.cli._console import say_how_to_install
from gsu_jax.cli._mistakes import report_mistake
from gsu_jax.cli._options import in_options, options_of, unknown_option
from gsu_jax.cli._programs import keep_programs
from gsu_jax.data import Source, load
from gsu_jax.methods import METHODS, Method, get_method
from gsu_jax.report import terminal_table
from gsu_jax.runtime import (
    LAUNCHED,
    announce,
    is_first,
    is_lost_peer,
    join,
    long_run,
    make_mesh,
    stage,
)
from gsu_jax.study import StudyConfig, run_study

try:
    from tyro.conf import arg
except ModuleNotFoundError:  # `run_command` says how to install it

    def arg(**_: Any) -> None:
        """Stands for `tyro.conf.arg`."""


MISTAKES = (ValueError, TypeError, OSError, ImportError)
PIPE_WIDTH = 100


@dataclass(frozen=True)
class Arguments:
    """The options of an experiment; tyro shows the text below each as its help."""

    forget: Annotated[str, arg(aliases=("--feature",))]
    """What to forget: a class ("1"), or an attribute ("Male", "shape=heart")."""
    dataset: str
    """A TFDS name, "digits", an .npz of your own, or a folder of images."""
    seeds: int
    """How many models to train and unlearn: seeds 0 to N - 1."""
    epochs: int | None
    """Epochs of unlearning; one is the paper's one-shot. None takes those of the data set."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Where results go. The same command again resumes."""
    methods: tuple[str, ...]
    """Rows of the table: names, or "all" that can work on the model."""
    ensemble: int
    """How many retrained models to compare with (never fewer than seeds)."""
    size: int | None = None
    """Pixels to crop and resize the images to; by default those of the experiment."""
    beta: float | None = None
    """Weight of the KL term in the training of a VAE (beta-VAE); by default that of the experiment,
    1. nelbo in the table has a weight of 1 all the same."""
    models_from: Annotated[Path | None, arg(metavar="DIR")] = None
    """The --out of another study with the same data and training, whose models to copy."""
    data_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """The folder of TFDS data sets; by default $TFDS_DATA_DIR."""
    mesh: Annotated[str | None, arg(metavar="data=N[,model=M]")] = None
    """Devices that share each batch, and maybe the parameters; by default one device. A run may
    resume on another mesh."""
    program_cache: bool = True
    """Keep compiled programs on disk, so that the next run starts sooner; where, says
    $JAX_COMPILATION_CACHE_DIR."""


def main(
    config: StudyConfig,
    *,
    methods: Sequence[Method] | None = None,
    rows: Sequence[str] = ("all",),
    seeds: int = 3,
    presets: Sequence[StudyConfig] = (),
    adjust: Callable[[StudyConfig], StudyConfig] = lambda config: config,
    note: Callable[[dict], str] | None = None,
    description: str | None = None,
) -> None:
    """Runs the study `config` from the command line.

    `--forget`, `--dataset`, `--epochs`, `--ensemble` and `--size` replace fields of `config`, which
    gives their defaults, and `--beta` a field of its model; `--out` is by default `runs/` and the
    name of the experiment. A mistake ends as in `run_command`.

    Args:
        config: the study.
        methods: what `--methods` may name; by default the library's, with their own settings.
        rows: the default of `--methods`.
        seeds: the default of `--seeds`.
        presets: studies of other data sets. `--dataset NAME` starts from the one with that
            `dataset`, if there is one, in place of `config`.
        adjust: called last, with the study of the command line; returns the study to run.
        note: called with the results; returns lines to print below the table.
        description: the first lines of `--help`; by default the docstring of the script.

    Example:
        A whole experiment::

            if __name__ == "__main__":
                main(StudyConfig("mine", "digits", "1", MLPVAEConfig((8, 8, 1))), seeds=5)
    """

    def run(arguments: Arguments) -> str:
        preset = next((c for c in presets if c.dataset == arguments.dataset), config)
        study = replace(
            preset,
            dataset=arguments.dataset,
            forget=arguments.forget,
            epochs=preset.epochs if arguments.epochs is None else arguments.epochs,
            ensemble=arguments.ensemble,
            image_size=preset.image_size if arguments.size is None else arguments.size,
        )
        study = with_beta(adjust(study), arguments.beta)
        known = methods or [get_method(name) for name in METHODS]
        check_rows(arguments, known)
        source = read_images(study, arguments.data_dir)
        return run_and_print(study, source, arguments, known, note)

    defaults = Arguments(
        forget=config.forget,
        dataset=config.dataset,
        seeds=seeds,
        epochs=config.epochs if all(c.epochs == config.epochs for c in presets) else None,
        out=Path("runs") / config.experiment,
        methods=tuple(rows),
        ensemble=config.ensemble,
    )
    run_command(run, defaults, description=description)


def run_command(
    run: Callable[[Any], str], defaults: Any, *, description: str | None = None
) -> None:
    """Reads the command line into a dataclass and prints what `run` returns for it.

    A mistake of the user ends in one line on standard error and exit code 2, Ctrl-C in exit code
    130. With `GSU_JAX_TRACEBACK=1` in the environment a mistake raises, with its traceback.

    Args:
        run: called with an instance of the class of `defaults`, on every process.
        defaults: an instance of a dataclass, whose fields are the options. With a field
            `program_cache` that is true, compiled programs are kept in the user's cache folder.
        description: the first lines of `--help`; by default the docstring of the script.
    """
    try:
        arguments = _parse(defaults, description or sys.modules["__main__"].__doc__)
        join()
        if getattr(arguments, "program_cache", False):
            keep_programs()
        with long_run("still running"):
            output = run(arguments)
        if is_first():
            print(output)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command again resumes from here", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if is_lost_peer(error):
            if LAUNCHED not in os.environ:  # the launcher names the lost process itself
                print(f"error: {error}", file=sys.stderr)
            sys.exit(1)  # which waits for the runtime to name the lost process
        if os.environ.get("GSU_JAX_TRACEBACK") or not isinstance(error, MISTAKES):
            raise
        # The library speaks of its own arguments; here they are options.
        said = say_how_to_install(error) if isinstance(error, ImportError) else str(error)
        sys.exit(report_mistake(in_options(said, defaults)))


def read_images(study: StudyConfig, data_dir: Path | None) -> Source:
    """Returns the images of a study, as `gsu_jax.data.load` does.

    Args:
        study: says which, and of what size.
        data_dir: the folder of TFDS data sets, None for the default.

    Raises:
        ValueError: the images cannot be read; the message names the option.
    """
    options = {"data_dir": data_dir, "classes": study.classes, "image_size": study.image_size}
    return load_images("--dataset", study.dataset, options)


def load_images(option: str, name: str, options: Mapping[str, Any]) -> Source:
    """Returns `load(name, **options)`; an error says once, from which images it comes.

    Args:
        option: what sets the name: "--dataset", or "" for a positional argument.
        name: of the images.
        options: for `load`.

    Raises:
        ValueError: the images cannot be read.
    """
    with stage("read images", 1, patience=1.0) as advance:
        try:
            source = load(name, **options)
        except (ValueError, TypeError) as error:
            path, message = str(Path(name).expanduser()), str(error).removeprefix("name: ")
            if option or path not in message:
                message = f"{option} {name}: {message.removeprefix(f'{path}: ')}".lstrip()
            raise ValueError(message) from error
        advance(1)
    return source


def terminal_width() -> int:
    """Returns the columns of the terminal; 100 if the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH


def _parse(defaults: Any, description: str | None) -> Any:
    tyro = import_extra("tyro", "tyro", "the command line of an experiment")
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(type(defaults), default=defaults, description=description)
    except SystemExit as end:
        if end.code != 2:  # --help
            raise
        options = options_of(type(defaults))
        option, question = unknown_option(sys.argv[1:], options)
        if option:
            listed = listing(options)
            raise ValueError(f"unknown option {option}.{question} Known: {listed}") from None
        # A box of lines: a title, the message, a rule, a hint at --help.
        _, *lines = errors.getvalue().splitlines()
        message = takewhile(lambda line: "──" not in line, lines)
        raise ValueError(" ".join(line.strip("│ ") for line in message)) from None


def check_rows(arguments: Any, methods: Sequence[Method]) -> None:
    """Raises ValueError for a method or a mesh that does not exist, before images are read."""
    known = {method.title: method for method in methods}
    if not arguments.methods:
        raise ValueError(f"--methods must name rows, or all; known: {listing(known)}")
    for name in arguments.methods:
        if "," in name:
            names = " ".join(name.replace(",", " ").split())
            raise ValueError(f"--methods {name}: spaces separate, not commas: --methods {names}")
        if name not in ("all", *known):
            raise unknown("--methods", "method", name, known)
    if arguments.mesh is not None:
        make_mesh(arguments.mesh)


def run_and_print(
    study: StudyConfig,
    source: Source,
    arguments: Any,
    methods: Sequence[Method],
    note: Callable[[dict], str] | None = None,
) -> str:
    """Runs a study on the images of a source and returns what is printed at the end.

    Args:
        study: the study.
        source: the images.
        arguments: the options: `methods`, `mesh`, `out`, `seeds`, `models_from`.
        methods: what `--methods` may name.
        note: as in `main`.
    """
    known = {method.title: method for method in methods}
    names = (
        able(study, known) if "all" in arguments.methods else [*dict.fromkeys(arguments.methods)]
    )
    mesh = None if arguments.mesh is None else make_mesh(arguments.mesh)
    announce(f"progress: {arguments.out / 'log.jsonl'}")
    results = run_study(
        study,
        source,
        arguments.out,
        methods=[known[name] for name in names],
        seeds=arguments.seeds,
        models_from=arguments.models_from,
        mesh=mesh,
    )
    table = terminal_table(results, width=terminal_width())
    parts = [table] if note is None else [table, note(results)]
    return "\n\n".join([*parts, f"report: {arguments.out / 'report.html'}"])
