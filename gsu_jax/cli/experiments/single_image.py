"""Can it be shown that single images were removed? A panel of images, with and without each.

A coin decides for each image of the panel whether the models are trained on it. Reference models,
each with a random half of the panel, say which images are memorized, and what can be tested at all:
that is written down before anything is unlearned. Then each method forgets what the coins chose, in
models of many seeds, and is compared with models that were trained without it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from gsu_jax.audit import half_splits
from gsu_jax.checks import at_least, unknown
from gsu_jax.cli import read_images, run_command
from gsu_jax.cli.experiments._high_rate import HIGH, RATE
from gsu_jax.cli.experiments._panel import COPIES, Panel, Sizes, base_images, draw_panel, seal
from gsu_jax.cli.experiments._panel_models import Models
from gsu_jax.cli.experiments._panel_requests import Answered, answer, originals
from gsu_jax.cli.experiments._panel_tables import (
    Declared,
    declare,
    declared_table,
    epsilon_of_one_run,
    kind_rows,
    methods_table,
    rows_table,
)
from gsu_jax.data import Source
from gsu_jax.methods import METHODS, FineTune, Method, get_method
from gsu_jax.models import MLPVAEConfig
from gsu_jax.runtime import announce, describe_environment
from gsu_jax.storage import Artifacts, exclusive, write_whole
from gsu_jax.study import Recipe, StudyConfig

try:
    from tyro.conf import arg
except ModuleNotFoundError:  # `run_command` says how to install it

    def arg(**_: Any) -> None:
        """Stands for `tyro.conf.arg`."""


class Setting(NamedTuple):
    """The models and the panel of a data set.

    Attributes:
        config: The generator, its training, and the epochs of unlearning.
        sizes: Of the panel.
    """

    config: StudyConfig
    sizes: Sizes


DIGITS = Setting(
    StudyConfig(
        experiment="single_image",
        dataset="digits",
        forget="1",
        model=MLPVAEConfig(image_shape=(8, 8, 1), widths=(64,), latent_size=8),
        pretraining=Recipe(epochs=60, batch_size=64, learning_rate=3e-3),
        epochs=20,
        ensemble=0,
    ),
    Sizes(),
)
MNIST138 = Setting(
    replace(
        DIGITS.config,
        dataset="mnist",
        classes=("1", "3", "8"),
        model=MLPVAEConfig(),
        pretraining=Recipe(epochs=60),
    ),
    Sizes(),
)
SETTINGS = {"digits": DIGITS, "mnist138": MNIST138}
QUICK = Sizes(random=6, memorized=4, canaries=1, noised=6)


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line."""

    dataset: str = "digits"
    """digits or mnist138 (1, 3 and 8 alone); TFDS data sets are in $TFDS_DATA_DIR."""
    methods: tuple[str, ...] = ("redirect_flow", "gradient_surgery", "fine_tune", HIGH)
    """Methods by name, and fine_tune-high, at three times the learning rate of the training; before
    and retrain are always there."""
    models: int = 128
    """Reference models, an even number: each panel image is in half of them."""
    pilot: int = 24
    """Half-split models that choose the memorized images."""
    seeds: int = 18
    """Models before unlearning, and retrained ones for each request."""
    singles: int = 2
    """Images to forget alone: those with the largest shift, of two kinds."""
    chunk: int = 6
    """Models that are trained under one vmap."""
    seed: int = 0
    """Of the panel and of its coins."""
    quick: bool = False
    """A smoke test: a tiny panel, two epochs, four seeds. The figures mean nothing."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Where results go; by default runs/single_image-DATASET, and "-quick" for a smoke test. The
    same command resumes."""
    data_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """The folder of TFDS data sets; by default $TFDS_DATA_DIR."""
    program_cache: bool = True
    """Keep compiled programs on disk, so that the next run starts sooner."""


def run(arguments: Arguments) -> str:
    """Runs what is missing, and returns the tables."""
    setting, arguments = _checked(arguments)
    source = read_images(setting.config, arguments.data_dir)
    name = f"single_image-{arguments.dataset}{'-quick' * arguments.quick}"
    out = arguments.out or Path("runs") / name
    announce(f"progress: {out}/checkpoints")
    with exclusive(out):
        text = _tables(setting, arguments, source, out)
    said = "--quick: a smoke test, the figures mean nothing\n\n" * arguments.quick
    return f"{said}{text}\n\ntables: {out / 'single_image.md'}"


def _tables(setting: Setting, arguments: Arguments, source: Source, out: Path) -> str:
    train, test = (_floats(part.images) for part in (source.train, source.test))
    models = _models(setting, arguments, source, out, train, test)

    splits = half_splits(arguments.pilot, len(train))
    scores = models.pilot(train, splits)
    inside = np.where(splits, scores, 0).sum(0) - np.where(splits, 0, scores).sum(0)
    panel = draw_panel(train, test, inside, setting.sizes, arguments.seed)
    base, sealed = base_images(train, panel), seal(out, panel)

    members = half_splits(arguments.models, len(panel.images), arguments.seed)
    reference = models.of_panel("reference", panel, base, members, 0)["phi"]
    declared = declare(reference, members, arguments.seeds)
    _write_declared(out, panel, declared, arguments)
    before = originals(models, panel, base, arguments.seeds)

    answers = {name: _method(name, setting.config) for name in arguments.methods}
    requests = {"list": panel.coins} | _singles(panel, declared, arguments.singles)
    methods, rows = [], []
    for name, chosen in requests.items():
        done = answer(models, panel, base, before, name, chosen, answers, setting.config.epochs)
        audit = (reference, members, panel.coins) if name == "list" else None
        methods += _method_rows(name, done, audit)
        found = kind_rows(panel, chosen, declared, done.phi)
        rows += [row | {"request": name} for row in found]
    record = {
        "arguments": {k: str(v) for k, v in asdict(arguments).items()},
        "environment": describe_environment(), "coins": sealed, "least": declared.least,
        "methods": methods, "rows": rows,
    }  # fmt: skip
    text = _text(panel, declared, methods, rows, sealed, arguments)
    write_whole(out / "single_image.json", json.dumps(record, indent=1) + "\n")
    write_whole(out / "single_image.md", text + "\n")
    return text


def _checked(arguments: Arguments) -> tuple[Setting, Arguments]:
    if arguments.dataset not in SETTINGS:
        raise unknown("--dataset", "data set", arguments.dataset, SETTINGS)
    known = [*(name for name, method in METHODS.items() if method.role == "method"), HIGH]
    for name in arguments.methods:
        if name not in known:
            raise unknown("--methods", "method", name, known)
    setting = SETTINGS[arguments.dataset]
    if arguments.quick:
        setting = Setting(
            replace(setting.config, pretraining=Recipe(epochs=2, batch_size=64), epochs=1), QUICK
        )
        arguments = replace(arguments, models=8, pilot=4, seeds=4, chunk=4, singles=1)
    at_least(8, **{"--models": arguments.models})
    at_least(4, **{"--pilot": arguments.pilot, "--seeds": arguments.seeds})
    at_least(1, **{"--chunk": arguments.chunk})
    at_least(0, **{"--singles": arguments.singles, "--seed": arguments.seed})
    for name in ("models", "pilot"):
        if getattr(arguments, name) % 2:
            raise ValueError(
                f"--{name} must be even, so that each image is in half of them, got "
                f"{getattr(arguments, name)}"
            )
    return setting, arguments


def _method(name: str, config: StudyConfig) -> Method:
    if name == HIGH:
        return FineTune(learning_rate=RATE * config.pretraining.learning_rate)
    return get_method(name)


def _floats(images: np.ndarray) -> np.ndarray:
    return np.asarray(images, np.float32) / (255 if images.dtype == np.uint8 else 1)


def _models(
    setting: Setting,
    arguments: Arguments,
    source: Source,
    out: Path,
    train: np.ndarray,
    test: np.ndarray,
) -> Models:
    from gsu_jax.networks import mlp_vae  # Flax takes seconds that --help should not

    config, sizes = setting.config, setting.sizes
    made_with = {
        "data": source.fingerprint, "model": config.record()["model"], "epochs": config.epochs,
        "panel": sizes._asdict(), "seed": arguments.seed, "pilot": arguments.pilot,
        "chunk": arguments.chunk,
    }  # fmt: skip
    canaries = sizes.canaries * sum(COPIES)
    return Models(
        Artifacts(out), mlp_vae(config.model), config.pretraining, arguments.chunk,
        test[:1000], made_with, images=len(train) - sizes.random - sizes.memorized - sizes.noised,
        room=len(train) + len(COPIES) * sizes.canaries, most=len(train) + canaries,
    )  # fmt: skip


def _singles(panel: Panel, declared: Declared, number: int) -> dict[str, np.ndarray]:
    """Requests for one image each, of different kinds: the testable ones with the largest shift."""
    found: dict[str, np.ndarray] = {}
    used: set[str] = set()
    order = np.argsort(-np.where(panel.coins & declared.testable, declared.shift, -np.inf))
    for i in order:
        if not (panel.coins[i] and declared.testable[i]) or len(found) == number:
            break
        if panel.kinds[i] not in used:
            used.add(panel.kinds[i])
            found[f"image-{i}"] = np.arange(len(panel.coins)) == i
    return found


def _write_declared(out: Path, panel: Panel, declared: Declared, arguments: Arguments) -> None:
    """What is testable, written before any model is unlearned."""
    record = {
        "models": arguments.models, "seeds": arguments.seeds, "least": declared.least,
        "images": [
            {"kind": str(k), "memorization": float(m), "shift": float(d), "testable": bool(t)}
            for k, m, d, t in zip(
                panel.kinds, declared.memorization, declared.shift, declared.testable, strict=True
            )
        ],
    }  # fmt: skip
    path, content = out / "declared.json", json.dumps(record, indent=1) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") != content:
        raise ValueError(
            f"--out {out} declared what is testable with other --models or --seeds; give another "
            "--out, or the numbers of the first run"
        )
    write_whole(path, content)


def _method_rows(name: str, done: Answered, audit: Any) -> list[dict[str, Any]]:
    rows = []
    for method, phi in done.phi.items():
        epsilon, share = epsilon_of_one_run(phi, *audit) if audit else (None, None)
        rows.append({
            "request": name, "method": method, "epsilon": epsilon, "share": share,
            "bound": done.bound[method] / done.bound["retrain"],
            "seconds": done.seconds[method],
        })  # fmt: skip
    return rows


def _text(
    panel: Panel,
    declared: Declared,
    methods: Sequence[dict],
    rows: Sequence[dict],
    sealed: str,
    arguments: Arguments,
) -> str:
    parts = [
        f"Coins: SHA-256 {sealed[:16]}...; {arguments.models} reference models, {arguments.seeds} "
        f"seeds; testable from d = {declared.least:.2f}",
        declared_table(panel, declared),
        methods_table(list(methods)),
    ]
    for name in dict.fromkeys(row["request"] for row in rows):
        table = rows_table([row for row in rows if row["request"] == name])
        parts.append(f"Request: {name}\n\n{table}")
    return "\n\n".join(parts)


def main() -> None:
    """Runs the experiment with the options of the command line."""
    run_command(run, Arguments(), description=__doc__)
