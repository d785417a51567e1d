"""How long does a removal request take from a standing start? Import, read, compile, unlearn.

Each round starts new processes of Python: one that compiles everything, one that finds the programs
of the round before in a folder (`JAX_COMPILATION_CACHE_DIR`). Each compiles while it reads, and
answers a second request of another size, which compiles nothing. With --data-dir the images are
MNIST's, 1s to forget and 3s and 8s to keep; else noise of those sizes. Weights are new: their
values cost no time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import paired
import tyro

from gsu_jax.methods import get_method

COLD, CACHED = "cold", "programs cached"
STAGES = ("start", "read", "compile", "run", "second request")
REQUEST = """
import json, sys, threading, time
method, folder, forget, retain = json.loads(sys.argv[1])
import jax, numpy as np
import gsu_jax
from gsu_jax.data import ForgetClass, load
from gsu_jax.networks import mlp_vae
from gsu_jax.unlearning import compile_ahead
imported = time.time()
model = mlp_vae()
ahead = dict(model=model, image_shape=(28, 28, 1), n_forget=forget, n_retain=retain, method=method)
compiling = threading.Thread(target=compile_ahead, kwargs=ahead)
compiling.start()
if folder:
    source = load("mnist", data_dir=folder, classes=("1", "3", "8"))
    parts = ForgetClass("1").split(source).train
    forget, retain = parts.forget.images, parts.retain.images
else:
    pixels = np.random.default_rng(0).integers(0, 256, (forget + retain, 28, 28, 1), np.uint8)
    forget, retain = pixels[:forget], pixels[forget:]
read = time.time()
params = jax.jit(model.init)(jax.random.key(0))
compiling.join()
result = gsu_jax.unlearn(model, params, forget, retain, method=method, key=jax.random.key(1))
jax.block_until_ready(result.params)
done = time.time()
everything = np.concatenate([forget, retain])
fewer = 9 * len(forget) // 10  # another size, which compiles nothing either
sets = everything[:fewer], everything[fewer:]
again = gsu_jax.unlearn(model, params, *sets, method=method, key=jax.random.key(2))
jax.block_until_ready(again.params)
second = time.time() - done
assert again.compile_seconds == 0, "the second request compiled"
times = {"read": read - imported, "compile": done - read - result.seconds, "run": result.seconds}
print(json.dumps({"imported": imported, "second request": second, **times}))
"""


@dataclass(frozen=True)
class Arguments:
    """What is measured, and how often."""

    method: str = "redirect_surgery"
    """The method that answers the request."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """A folder of TFDS data sets with MNIST; without one the images are noise."""
    forget: int = 6742
    """Images of noise to forget."""
    retain: int = 11982
    """Images of noise to keep."""
    rounds: int = 5
    """Times that each is timed."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("benchmarks/results/cold.json")
    """The JSON file to write."""

    def __post_init__(self) -> None:
        paired.check_counts(self, "forget", "retain", "rounds")
        get_method(self.method)  # before a process is started for it


def main(arguments: Arguments) -> None:
    paired.prepare(arguments.out)
    before, stages = paired.load(), {COLD: [], CACHED: []}
    with tempfile.TemporaryDirectory() as cache:
        folders = {COLD: None, CACHED: cache}
        kinds = {name: partial(request, arguments, folders[name], stages[name]) for name in folders}
        rounds = paired.time_rounds(kinds, arguments.rounds)
    rows = [row(name, rounds, stages[name][1:]) for name in kinds]
    print(table(rows))
    paired.write(arguments, "cold", "MLP VAE 784-400-400-20, float32", rows, before)


def request(arguments: Arguments, cache: str | None, stages: list[dict[str, float]]) -> float:
    """Seconds from the start of a process to its first answer; notes those of each stage."""
    environment = dict(os.environ)
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    if cache:
        environment["JAX_COMPILATION_CACHE_DIR"] = cache
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    folder = arguments.data_dir and str(arguments.data_dir)
    asked = json.dumps([arguments.method, folder, arguments.forget, arguments.retain])
    start = time.time()
    command = [sys.executable, "-c", REQUEST, asked]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"the request failed: {done.stderr.strip().splitlines()[-1]}")
    one = json.loads(done.stdout.splitlines()[-1])
    one["start"] = one.pop("imported") - start
    stages.append(one)
    return sum(one[name] for name in STAGES[:-1])


def row(name: str, rounds: list[paired.Round], stages: list[dict[str, float]]) -> dict[str, Any]:
    """What the table and the JSON say of one kind."""
    parts = {part: paired.spread([one[part] for one in stages]) for part in STAGES}
    total = paired.spread([one[name] for one in rounds])
    ratio = paired.ratios(rounds, name, base=COLD)
    return {"kind": name, "seconds": total, "ratio": ratio, "stages": parts}


def table(rows: list[dict[str, Any]]) -> str:
    lines = [("seconds", "whole request", "(min .. max)", *STAGES)]
    for one in rows:
        parts = (f"{one['stages'][part]['median']:.2f}" for part in STAGES)
        lines.append((one["kind"], *paired.with_range(one["seconds"]), *parts))
    return paired.aligned(lines)


if __name__ == "__main__":
    paired.command_line(main, Arguments, __doc__)
