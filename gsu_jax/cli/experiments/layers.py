"""Which layers conflict, and is it worth anything to treat them apart? Recon, for unlearning.

Counts the conflict of each layer of two VAEs and of a diffusion model of 8x8 digits, the latter at
each noise level too. Then global surgery and its variants unlearn a digit at many learning rates,
and are compared where the bound of retained test images has risen by as much.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from gsu_jax.checks import above, at_least, unknown
from gsu_jax.cli import run_command
from gsu_jax.cli.experiments._layer_models import CONFIGS, sets_of, trained
from gsu_jax.cli.experiments._layer_tables import (
    COSTS,
    Record,
    at_equal_cost,
    conflicts,
    curves,
)
from gsu_jax.data import load
from gsu_jax.storage import write_whole

try:
    from tyro.conf import arg
except ModuleNotFoundError:  # `run_command` says how to install it

    def arg(**_: Any) -> None:
        """Stands for `tyro.conf.arg`."""


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line."""

    models: tuple[str, ...] = tuple(CONFIGS)
    """Out of mlp_vae, conv_vae and diffusion."""
    forget: tuple[str, ...] = ("1", "8")
    """The digits to forget, one at a time."""
    seeds: int = 3
    """Trained models of each kind."""
    learning_rates: tuple[float, ...] = (2e-5, 6e-5, 1.2e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3)
    """Of Adam; every variant runs at each of them."""
    epochs: int = 15
    """Passes over the forgotten digit, of two steps each."""
    samples: int = 2000
    """Drawn from each model."""
    diffusion_from: Annotated[Path | None, arg(metavar="DIR")] = None
    """The --out of `gsu-jax diffusion --dataset digits`, whose models are taken."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/layers")
    """Where layers.md, layers.json and layers.png go."""
    program_cache: bool = True
    """Keep compiled programs on disk, so that the next run starts sooner."""


def run(arguments: Arguments) -> str:
    """Measures and unlearns, prints the tables and returns where they are."""
    _check(arguments)
    source = load("digits")
    try:
        for digit in arguments.forget:
            sets_of(source, digit)
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"--out {arguments.out}: {error.strerror}; choose another folder") from error
    layers: list[Record] = []
    runs: list[Record] = []
    lines: list[str] = []

    def say(new: Iterator[str]) -> None:
        for line in new:
            print(line, flush=True)
            lines.append(line)

    for name in arguments.models:
        made = trained(name, source, arguments.seeds, arguments.diffusion_from)
        for digit in arguments.forget:
            layers += (found := conflicts(made, source, digit))
            say(_conflict_table(found))
        for digit in arguments.forget:
            rates = arguments.learning_rates
            found = [*curves(made, source, digit, rates, arguments.epochs, arguments.samples)]
            runs += found
            say(_cost_table(found))
        content = {"arguments": _plain(arguments), "layers": layers, "runs": runs}
        write_whole(arguments.out / "layers.json", json.dumps(content, indent=1) + "\n")
        write_whole(arguments.out / "layers.md", "\n".join([*lines, ""]))
    draw(layers, arguments.out / "layers.png")
    return f"\ntables: {arguments.out / 'layers.md'}\npicture: {arguments.out / 'layers.png'}"


def _check(arguments: Arguments) -> None:
    """Raises ValueError for what would otherwise be found after the training."""
    for name in arguments.models:
        if name not in CONFIGS:
            raise unknown("--models", "model", name, CONFIGS)
    at_least(1, seeds=arguments.seeds, epochs=arguments.epochs, samples=arguments.samples)
    for rate in arguments.learning_rates:
        above(0, learning_rates=rate)
    if list(arguments.learning_rates) != sorted({*arguments.learning_rates}):
        raise ValueError(
            f"learning_rates must rise, each named once, got {arguments.learning_rates}"
        )
    if "diffusion" in arguments.models and arguments.diffusion_from is not None:
        trained("diffusion", load("digits"), arguments.seeds, arguments.diffusion_from)


def _plain(arguments: Arguments) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(arguments).items()
    }


def _conflict_table(records: Sequence[Record]) -> Iterator[str]:
    """The layers of one model and one digit, a column for each noise level."""
    windows = list(dict.fromkeys(record["window"] for record in records))
    first = records[0]
    yield f"\n### {first['model']}, forget {first['digit']}: conflict of each layer\n"
    levels = [f"cosine, gamma {low:g} to {high:g}" for low, high in filter(None, windows)]
    heads = ["layer", "share of conflicts", "cosine", "part of the product", *levels]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    by_layer: dict[str, list[Record]] = {}
    for record in records:
        by_layer.setdefault(record["layer"], []).append(record)
    for layer, found in by_layer.items():
        whole, *others = found
        cells = [layer, f"{np.mean(whole['share']):.2f}", _with_error(whole["cosine"], "+.2f")]
        cells.append(f"{np.mean(whole['part']):+.0%}")
        cells += [f"{np.mean(other['cosine']):+.2f}" for other in others]
        yield f"| {' | '.join(cells)} |"


def _cost_table(records: Sequence[Record]) -> Iterator[str]:
    """The share of samples at equal cost, of one model and one digit."""
    before = records[0]
    yield f"\n### {before['model']}, forget {before['digit']}: share of samples at equal cost\n"
    yield f"Before: {_with_error(before['share'], '.3f')}.\n"
    heads = [f"bound +{cost:.0%}{what}" for cost in COSTS for what in ("", ", less global")]
    yield f"| variant | {' | '.join(heads)} |"
    yield "|" + "---|" * (1 + len(heads))
    tables = [at_equal_cost(records, cost) for cost in COSTS]
    for variant in tables[0]:
        cells = [variant]
        for table in tables:
            share, reached = table[variant]
            cells.append(
                _with_error(share, ".3f") + "" * reached + " (not reached)" * (not reached)
            )
            away = share - table["global"][0]
            cells.append("" if variant == "global" else _with_error(away, "+.3f"))
        yield f"| {' | '.join(cells)} |"


def _with_error(values: Any, form: str) -> str:
    """The mean over seeds and its standard error."""
    values = np.asarray(values)
    mean = f"{values.mean():{form}}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {values.std(ddof=1) / len(values) ** 0.5:.{form[-2]}f}"


def draw(records: Sequence[Record], path: Path) -> None:
    """Draws the cosine of each layer: a point a seed, and a map over noise levels."""
    import io

    from gsu_jax.report import drawing

    with drawing():
        from matplotlib.figure import Figure

        models = list(dict.fromkeys(record["model"] for record in records))
        figure = Figure(figsize=(3.6 * len(models), 3.6), layout="constrained")
        for axes, model in zip(np.atleast_1d(figure.subplots(1, len(models))), models, strict=True):
            own = [record for record in records if record["model"] == model]
            layers = list(dict.fromkeys(record["layer"] for record in own))
            names = [layer.removeprefix("network/").replace("/layers/", " ") for layer in layers]
            axes.set_title(model)
            axes.set_yticks(range(len(layers)), names, fontsize=7)
            axes.invert_yaxis()
            if any(record["window"] for record in own):
                digit = own[0]["digit"]
                binned = [r for r in own if r["window"] and r["digit"] == digit]
                bins = list(dict.fromkeys(record["window"] for record in binned))
                shown = np.array([np.mean(record["cosine"]) for record in binned])
                edges = [bins[0][0], *(high for _, high in bins)]
                mesh = axes.pcolormesh(
                    edges, np.arange(len(layers) + 1) - 0.5, shown.reshape(len(bins), -1).T,
                    cmap="RdBu", vmin=-1, vmax=1,
                )  # fmt: skip
                axes.set_xlabel(f"noise level gamma, forget {digit}")
                figure.colorbar(mesh, label="cosine")
                continue
            for digit, color in zip(
                dict.fromkeys(r["digit"] for r in own), ("C0", "C1", "C2"), strict=False
            ):
                points = [r for r in own if r["digit"] == digit]
                cosines = np.array([record["cosine"] for record in points])
                axes.plot(cosines, range(len(layers)), "o", color=color, alpha=0.6)
                axes.plot([], [], "o", color=color, label=f"forget {digit}")
            axes.axvline(0.0, color="#888888", linewidth=0.8)
            axes.set(xlabel="cosine", xlim=(-1, 1))
            axes.legend(fontsize=7)
        picture = io.BytesIO()
        figure.savefig(picture, dpi=110, metadata={"Software": None})
    write_whole(path, picture.getvalue())


def main() -> None:
    """Runs with the options of the command line."""
    run_command(run, Arguments(), description=__doc__)
