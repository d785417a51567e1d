"""Measures the claims of the paper's theory on small models of digits: see docs/theory.md.

Takes two minutes on two cores and downloads nothing. Prints the tables and writes them to --out as
theory.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsu_jax.cli import run_command
from gsu_jax.cli.experiments._theory_models import VAE, vae
from gsu_jax.cli.experiments._theory_tables import (
    FORGET,
    along_a_run,
    descend,
    leave_out_of_the_classifier,
    leave_out_of_the_vae,
    slope,
    spectrum,
    steps_of_theorem_2_2,
    take,
    what_is_negligible,
)
from gsu_jax.data import load
from gsu_jax.runtime import stage
from gsu_jax.surgery import measure

TABLES = 6


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line."""

    out: Path = Path("runs/theory")
    """The folder for theory.md."""
    program_cache: bool = True
    """Keep compiled programs on disk, so that the next run starts sooner."""


def tables() -> Iterator[str]:
    """All tables."""
    source = load("digits")
    images, labels = map(jnp.asarray, (source.train.images, source.train.attributes["label"]))
    yield "### Leave-out retraining, convex: relative error of the predicted change\n"
    yield from leave_out_of_the_classifier(images, labels)

    images, labels = images[:400], labels[:400]
    noise = jax.random.normal(jax.random.key(1), (len(images), 2))
    data = (images, noise)
    forget, retain = (take(data, np.asarray(labels == FORGET) == own) for own in (True, False))
    theta = descend(VAE, vae().init(jax.random.key(0)), data, rate=1e-2, steps=4000)
    eigenvalues = spectrum(theta, data)
    top = float(eigenvalues[-1])
    norms = (optax.tree.norm(slope(VAE, theta, batch)) for batch in (data, forget, retain))
    yield "\n### The small VAE where it was trained to\n"
    yield f"Gradient norms on all, forgotten, retained: {', '.join(f'{n:.3g}' for n in norms)}."
    conflict = measure(slope(VAE, theta, forget), slope(VAE, theta, retain))
    yield f"Cosine of g_f and g_r over the whole sets: {conflict.cosine:.4f}."
    below = f"{np.sum(eigenvalues < 0)} of {len(eigenvalues)} below 0"
    yield f"Eigenvalues of the Hessian: {eigenvalues[0]:.3g} to {top:.3g}, {below}."
    yield "\n### Leave-out retraining of the VAE: correlation of predicted and actual\n"
    yield from leave_out_of_the_vae(theta, data, take(data, slice(100, 160)))
    yield "\n### One step, and the retained loss\n"
    yield from steps_of_theorem_2_2(theta, *(take(b, slice(0, 32)) for b in (forget, retain)))
    yield "\n### Over retained images: correlation of the inner product with the influence\n"
    yield from what_is_negligible(theta, data, forget, retain, top)
    yield "\n### Along an epoch of surgery (the last three columns: over their start)\n"
    yield from along_a_run(theta, data, forget, retain, top)


def run(arguments: Arguments) -> str:
    """Prints the tables, writes them to the folder `out`, and returns where they are."""
    path = arguments.out / "theory.md"
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise OSError(f"--out {arguments.out}: {error.strerror}; choose another folder") from error
    with file, stage("theory", TABLES) as advance:
        title = ""
        for line in tables():
            if line.lstrip().startswith("###"):
                advance(bool(title), title := line.strip("# \n"))
            print(line, flush=True)
            file.write(line + "\n")
        advance(1)
    return f"\ntables: {path}"


def main() -> None:
    """Measures with the options of the command line."""
    run_command(run, Arguments(), description=__doc__)
