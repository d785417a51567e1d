"""`gsu-jax run IMAGES --forget WHAT`: a study of images of one's own."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from tyro import MISSING
from tyro.conf import Positional, arg

from gsu_jax.cli._experiment import check_rows, load_images, run_and_print, run_command
from gsu_jax.methods import METHODS, get_method
from gsu_jax.study import choose_config


@dataclass(frozen=True)
class Arguments:
    """The options of `gsu-jax run`; tyro shows the text below each as its help."""

    images: Positional[str]
    """A folder with CLASS/*.png or .jpg, an .npz file, or the name of a TFDS data set."""
    forget: str
    """What to forget: a class ("cat"), several ("cat,dog"), an attribute ("indoors"), or single
    images ("files:cat/17.png,@LIST", "indices:0,5")."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Where results go; by default runs/ and the name of the images, and "-quick" for a smoke
    test. The same command resumes."""
    methods: tuple[str, ...] = ("before", "retrain", "gradient_surgery", "redirect_surgery")
    """Rows of the table: "all", or names."""
    seeds: int = 1
    """How many models to train and unlearn."""
    ensemble: int = 3
    """How many retrained models to compare with (never fewer than seeds)."""
    size: int | None = None
    """Pixels to crop and resize the images to."""
    epochs: int | None = None
    """Epochs of unlearning; by default as many as make 50 steps."""
    pretraining_epochs: int | None = None
    """Epochs of training the generators; by default as many as make 4,000 steps."""
    judge_gate: float | None = None
    """Accuracy on test images that the judge must reach."""
    quick: bool = False
    """A smoke test: two epochs of every training. The figures mean nothing."""
    holdout: float | None = None
    """Share of every class that is held out as test images; by default a fifth."""
    models_from: Annotated[Path | None, arg(metavar="DIR")] = None
    """The --out of another study of these images, whose models to copy."""
    data_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """The folder of TFDS data sets; by default $TFDS_DATA_DIR."""
    mesh: Annotated[str | None, arg(metavar="data=N[,model=M]")] = None
    """Devices that share each batch, and maybe the parameters; by default one device."""
    program_cache: bool = True
    """Keep compiled programs on disk, so that the next run starts sooner; where, says
    $JAX_COMPILATION_CACHE_DIR."""


def run(arguments: Arguments) -> str:
    """Chooses networks and recipes for the images and runs the study."""
    known = [get_method(name) for name in METHODS]
    check_rows(arguments, known)
    options = {
        "data_dir": arguments.data_dir,
        "holdout": arguments.holdout,
        "image_size": arguments.size,
    }
    source = load_images("", arguments.images, options)
    study = choose_config(source, arguments.forget, quick=arguments.quick)
    given: dict[str, Any] = {
        "ensemble": None if arguments.quick else arguments.ensemble,
        "epochs": arguments.epochs,
        "judge_gate": arguments.judge_gate,
        "image_size": arguments.size,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if arguments.pretraining_epochs is not None:
        changes["pretraining"] = replace(study.pretraining, epochs=arguments.pretraining_epochs)
    folder = f"{source.name}-quick" if arguments.quick else source.name
    arguments = replace(arguments, out=arguments.out or Path("runs") / folder)
    table = run_and_print(replace(study, **changes), source, arguments, known)
    return (
        f"--quick: a smoke test, the figures mean nothing\n\n{table}" if arguments.quick else table
    )


def main() -> None:
    """Runs the study with the options of the command line."""
    run_command(run, Arguments(images=MISSING, forget=MISSING), description=__doc__)
