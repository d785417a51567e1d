"""The command line that all experiments share."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

try:
    import tyro
except ModuleNotFoundError:
    sys.exit('error: tyro is not installed; pip install "gsu-jax[experiments]" (or -e ".[all]").')


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line; an experiment gives its own defaults."""

    forget: Annotated[str, tyro.conf.arg(aliases=("--feature",))]
    """What to forget: a class ("1"), or an attribute ("Male", "shape=heart")."""
    dataset: str
    """A TFDS name, "digits", an .npz of your own, or a folder of images."""
    seeds: int
    """How many models to train and unlearn: seeds 0 to N - 1."""
    epochs: int
    """Epochs of unlearning; one is the paper's one-shot."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Where results go. The same command again resumes."""
    methods: tuple[str, ...] = ("all",)
    """Rows of the table: "all", or names."""
    size: int | None = None
    """Pixels to crop and resize the images to; by default those of the experiment."""
    ensemble: int = 8
    """How many retrained models to hold the others against (never fewer than seeds)."""
    models_from: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The --out of another study, to take models of the same data and training from."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of TFDS data sets; by default $TFDS_DATA_DIR."""
    mesh: Annotated[str | None, tyro.conf.arg(metavar="data=N[,model=M]")] = None
    """Devices to share each batch over, and maybe to split parameters over; by default one. A run
    may go on with others."""


def main(
    config: Callable[[Arguments], Any], defaults: Arguments, methods: Sequence[Any] | None = None
) -> None:
    """Runs an experiment from the command line: the study that `config(arguments)` describes.

    `methods` are what `--methods` may name; by default the library's, with their own settings.
    """
    answer(lambda arguments: _run(config, arguments, methods), defaults)


def answer(run: Callable[[Any], str], defaults: Any) -> None:
    """Prints what `run` returns for the command line, read into a dataclass like `defaults`.

    A mistake ends in one message on standard error and exit code 2, Ctrl-C in 130; set
    GSU_JAX_TRACEBACK=1 to see where an error came from.
    """
    # Flax, orbax and the plots are imported only after this, so that --help answers at once.
    description = sys.modules["__main__"].__doc__
    arguments = tyro.cli(type(defaults), default=defaults, description=description)
    from gsu_jax.runtime import _processes as processes

    try:
        processes.join()
        printed = run(arguments)
        if processes.is_first():
            print(printed)
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("GSU_JAX_TRACEBACK"):
            processes.leave(1)
            raise
        code = _refusal(str(error))
        processes.leave(code)
        sys.exit(code)
    except Exception:
        processes.leave(1)
        raise
    except KeyboardInterrupt:
        print("\ninterrupted; the same command again goes on from here", file=sys.stderr)
        sys.exit(130)


def _refusal(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _run(
    config: Callable[[Arguments], Any], arguments: Arguments, methods: Sequence[Any] | None
) -> str:
    """Runs the study and returns what is printed at the end."""
    from gsu_jax.checks import listing, unknown
    from gsu_jax.methods import METHODS, get_method
    from gsu_jax.report import terminal_table
    from gsu_jax.runtime import make_mesh
    from gsu_jax.study import run_study

    study = config(arguments)
    if arguments.size is not None:
        study = replace(study, image_size=arguments.size)
    known = {method.title: method for method in methods or map(get_method, METHODS)}
    if not arguments.methods:
        raise ValueError(f"--methods: name at least one, or all. There is: {listing(known)}.")
    if strangers := [name for name in arguments.methods if name not in ("all", *known)]:
        raise unknown("--methods", "method", strangers[0], known)
    names = known if "all" in arguments.methods else dict.fromkeys(arguments.methods)
    methods = [known[name] for name in names]
    mesh = None if arguments.mesh is None else make_mesh(arguments.mesh)
    source = read_images(study, arguments.data_dir)
    results = run_study(
        study,
        source,
        arguments.out,
        methods=methods,
        seeds=arguments.seeds,
        models_from=arguments.models_from,
        mesh=mesh,
    )
    return f"{terminal_table(results, width=width())}\n\nreport: {arguments.out / 'report.html'}"


def read_images(study: Any, data_dir: Path | None) -> Any:
    """The images of a `StudyConfig`, as `gsu_jax.data.load` gives them."""
    from gsu_jax.data import load
    from gsu_jax.runtime import stage

    with stage("read images", 1) as advance:
        try:
            source = load(
                study.dataset,
                data_dir=data_dir,
                classes=study.classes,
                image_size=study.image_size,
            )
        except (ValueError, TypeError) as error:
            # The loader speaks of its own arguments; here they are options.
            message = str(error).removeprefix("name: ")
            raise ValueError(f"--dataset {study.dataset}: {message}") from error
        advance(1)
    return source


def width() -> int | None:
    """The columns of the terminal; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
