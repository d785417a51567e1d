"""Which method wins? Every method gets the same number of trials, then one run on closed requests.

Settings are chosen on the --tuning requests by one objective J; the --closed requests are run once,
with the chosen settings. J is the distance from retraining in units of the aims, at the worst.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from gsu_jax.checks import above, unknown
from gsu_jax.cli import read_images, run_command
from gsu_jax.cli.experiments import diffusion, digits, fashion, mnist
from gsu_jax.data import Source
from gsu_jax.report import Aims, arena_text
from gsu_jax.runtime import announce
from gsu_jax.study import DIFFUSION_SPACES, SPACES, Recipe, StudyConfig, choose_config

try:
    from tyro.conf import arg
except ModuleNotFoundError:  # `run_command` says how to install it

    def arg(**_: Any) -> None:
        """Stands for `tyro.conf.arg`."""


class Arena(NamedTuple):
    """The requests of a data set, split by lot before the first trial.

    Attributes:
        config: what the studies are.
        tuning: requests that settings are chosen on.
        closed: requests that methods are compared on.
    """

    config: StudyConfig
    tuning: tuple[str, ...]
    closed: tuple[str, ...]


def _named(config: StudyConfig) -> StudyConfig:
    return replace(config, experiment="arena")


# The lot of digits: random.Random("gsu_jax arena, digits 8x8, 2026-11-29") draws 4 closed ones out
# of 0 and 2 to 9, then 2 to tune on; settings were chosen on 1 before. docs/notes/
# redirect_second_form.md has the lot of the two others.
ARENAS = {
    "digits": Arena(_named(digits.CONFIG), ("1", "3", "6"), ("4", "5", "7", "9")),
    "mnist": Arena(_named(mnist.CONFIG), ("0", "1", "2", "3", "5"), ("4", "6", "7", "8", "9")),
    "fashion_mnist": Arena(
        _named(fashion.CONFIG),
        ("Ankle boot", "Bag", "Coat", "Sandal", "Sneaker"),
        ("Dress", "Pullover", "Shirt", "T-shirt/top", "Trouser"),
    ),
}
# The same requests, forgotten by the diffusion model of `gsu-jax diffusion`.
DIFFUSION = {"digits": Arena(_named(diffusion.DIGITS), *ARENAS["digits"][1:])}
MODELS = {"vae": (ARENAS, SPACES), "diffusion": (DIFFUSION, DIFFUSION_SPACES)}
QUICK = {
    "pretraining": Recipe(epochs=2),
    "judging": Recipe(epochs=2),
    "judge_gate": 0.0,
    "second_judge": None,
    "ensemble": 2,
    "samples": 500,
}
QUICK_METHODS = ("gradient_ascent", "gradient_surgery")


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line."""

    dataset: str = "digits"
    """A TFDS name, "digits", an .npz of your own, or a folder of images."""
    model: Literal["vae", "diffusion"] = "vae"
    """What unlearns: the VAE of the experiment, or the diffusion model of `gsu-jax diffusion`."""
    tuning: tuple[str, ...] = ()
    """Requests to choose settings on; by default those of "digits", "mnist" and "fashion_mnist"."""
    closed: tuple[str, ...] = ()
    """Requests to compare the methods on, each run once; by default as for --tuning."""
    methods: tuple[str, ...] = ("all",)
    """Methods: "all", or names. More of them extend an arena."""
    trials: int = 20
    """Settings to try of each method: its default, and points of its space."""
    tuning_seeds: int = 1
    """Seeds of each trial."""
    tuning_phi_images: int = 32
    """Forgotten and retained test images each for phi of a trial; closed runs have 128."""
    seeds: int = 5
    """Seeds of each closed run."""
    defaults: bool = False
    """Also run the default setting of each method on the closed requests, beside the chosen one."""
    ensemble: int | None = None
    """How many retrained models to compare with; by default those of the experiment."""
    time_limit: float | None = None
    """Percent of a retraining's time that counts as an aim; by default time does not count."""
    quick: bool = False
    """A smoke test: two methods, two trials, one seed, two epochs of every training. The figures
    mean nothing."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Where results go; by default runs/arena-DATASET or runs/arena-diffusion-DATASET, and "-quick"
    for a smoke test. The same command resumes."""
    models_from: Annotated[tuple[Path, ...], arg(metavar="DIR")] = ()
    """The --out of other studies with the same data and training, whose models to copy: a request
    takes those of the study of the same request."""
    data_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """The folder of TFDS data sets; by default $TFDS_DATA_DIR."""
    program_cache: bool = True
    """Keep compiled programs on disk, so that the next run starts sooner."""


def run(arguments: Arguments) -> str:
    """Runs the arena and returns its table, and where its files are."""
    from gsu_jax.study import run_arena  # Flax takes seconds that --help should not

    methods = _methods(arguments)
    if arguments.time_limit is not None:
        above(0, **{"--time-limit": arguments.time_limit})
    source, arena = _arena(arguments)
    name = Path(arguments.dataset).stem
    kind = "" if arguments.model == "vae" else f"{arguments.model}-"
    out = arguments.out or Path("runs") / f"arena-{kind}{name}{'-quick' * arguments.quick}"
    announce(f"progress: {out}/*/*/log.jsonl")
    quick = arguments.quick
    _, found = run_arena(
        arena.config,
        source,
        out,
        tuning=arena.tuning[:1] if quick else arena.tuning,
        closed=arena.closed[:2] if quick else arena.closed,
        methods=methods,
        trials=2 if quick else arguments.trials,
        tuning_seeds=1 if quick else arguments.tuning_seeds,
        seeds=1 if quick else arguments.seeds,
        tuning_config=replace(arena.config, phi_images=arguments.tuning_phi_images),
        aims=Aims(seconds=arguments.time_limit and arguments.time_limit / 100),
        models_from=arguments.models_from,
        defaults=arguments.defaults,
    )
    said = "--quick: a smoke test, the figures mean nothing\n\n" * quick
    return f"{said}{arena_text(found)}\n\ntable: {out / 'arena.md'}\nfront: {out / 'front.png'}"


def _methods(arguments: Arguments) -> Sequence[str]:
    """The methods by name; a name that does not exist is refused before images are read."""
    _, spaces = MODELS[arguments.model]
    for name in arguments.methods:
        if "," in name:
            names = " ".join(name.replace(",", " ").split())
            raise ValueError(f"--methods {name}: spaces separate, not commas: --methods {names}")
        if name not in ("all", *spaces):
            raise unknown("--methods", "method", name, spaces)
    if not arguments.methods:
        raise ValueError("--methods must name methods, or all")
    if "all" in arguments.methods:
        return QUICK_METHODS if arguments.quick else tuple(spaces)
    return tuple(dict.fromkeys(arguments.methods))


def _arena(arguments: Arguments) -> tuple[Source, Arena]:
    """The images, and the requests and studies of the command line."""
    named = Arena(digits.CONFIG, arguments.tuning, arguments.closed)
    arenas, _ = MODELS[arguments.model]
    known = arenas.get(arguments.dataset)
    if known is None and arguments.model != "vae":
        raise ValueError(
            f"--model {arguments.model} takes --dataset {' or '.join(arenas)}, got "
            f"{arguments.dataset}; for other images call gsu_jax.study.run_arena with a StudyConfig"
        )
    if known is None and not (arguments.tuning and arguments.closed):
        raise ValueError(
            f"--dataset {arguments.dataset} needs --tuning and --closed, two lists of requests; "
            f"only {', '.join(ARENAS)} have a split of their own"
        )
    config = replace((known or named).config, dataset=arguments.dataset)
    source = read_images(config, arguments.data_dir)
    if known is None:
        config = choose_config(source, arguments.tuning[0])
    config = replace(config, experiment="arena")
    if arguments.quick:
        config = replace(config, **QUICK)
    elif arguments.ensemble is not None:
        config = replace(config, ensemble=arguments.ensemble)
    default = known or named
    tuning, closed = arguments.tuning or default.tuning, arguments.closed or default.closed
    return source, Arena(config, tuning, closed)


def main() -> None:
    """Runs the arena with the options of the command line."""
    run_command(run, Arguments(), description=__doc__)
