"""Programs for tests/runtime/test_processes.py, each run as several processes by `gsu_jax.cli`.

python tests/process_program.py study OUT CACHE MESH [SECONDS]   with a pause after each epoch
python tests/process_program.py sums OUT                         sums over all devices, for ever
python tests/process_program.py facts OUT                        what the processes tell each other
"""

import json
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tiny_study
from tiny_study import compiled_programs_kept_in

from gsu_jax.cli import run_command
from gsu_jax.data import scale_images
from gsu_jax.models import Classifier, Prediction
from gsu_jax.runtime import (
    LAUNCHED,
    all_gather_json,
    broadcast_arrays,
    broadcast_from_first,
    is_first,
    make_mesh,
    put,
    to_host,
)
from gsu_jax.study import Recipe
from gsu_jax.study import _checkpointed_runs as trained


@dataclass(frozen=True)
class Nothing:
    """Nothing can be set."""


CONFIG = {"pretraining": Recipe(epochs=4, batch_size=128), "judging": Recipe(epochs=1)}
METHODS = ("before", "gradient_ascent")


def judge(kernel, images):
    flat = scale_images(images).reshape(len(images), -1)
    return Prediction(logits=flat @ kernel, features=flat[:, 18:24])


JUDGE = Classifier(lambda key: jax.random.normal(key, (64, 10)), judge, "six pixels")


def run_study(out, cache, mesh) -> dict:
    """A study in whose training the devices share their batches, with a judge of one layer."""
    from gsu_jax import networks  # the other programs start without Flax

    networks.classifier = lambda config: JUDGE
    trained.SAVE_EVERY = 0.0 if is_first() else 1e9  # only the clock of process 0 counts
    with compiled_programs_kept_in(cache):
        config = CONFIG | {"judge_gate": 0.0}
        return tiny_study.run_tiny(out, methods=METHODS, seeds=1, mesh=mesh, **config)


def study(out: str, cache: str, mesh: str, pause: str = "0") -> str:
    train_epoch = trained.train_epoch

    def slow(*arguments):
        time.sleep(float(pause))
        return train_epoch(*arguments)

    trained.train_epoch = slow
    run_study(out, cache, make_mesh(mesh) if mesh else None)
    return "finished"


def sums(out: str) -> str:
    mesh = make_mesh(f"data={jax.device_count()}")
    x = np.ones(jax.device_count(), np.float32)
    shared = put(x, jax.NamedSharding(mesh, jax.P("data")))
    total = jax.jit(lambda x: x.sum())
    while True:
        assert float(total(shared)) == len(x)
        Path(out, f"summed-{jax.process_index()}").touch()


def facts(out: str) -> str:
    own = jax.process_index()
    sharding = jax.NamedSharding(make_mesh(f"data={jax.device_count()}"), jax.P("data"))
    tree = {"a": np.array([-0.0, np.nan, own], np.float32), "b": jax.numpy.full((2, 2), own)}
    first = broadcast_arrays(lambda: tree, tree)
    found = {
        "gathered": all_gather_json({"own": own}),
        "broadcast": broadcast_from_first(lambda: own + 10),
        "nested": broadcast_from_first(lambda: broadcast_from_first(lambda: own)),
        "bits": np.asarray(first["a"]).tobytes().hex(),
        "kinds": [isinstance(first["a"], np.ndarray), isinstance(first["b"], jax.Array)],
        "to_host": to_host(put(np.arange(4), sharding)).tolist(),
    }
    try:
        broadcast_from_first(lambda: (Path(out) / "none").read_text())
    except OSError as error:
        found["error"] = str(error)
    Path(out, f"facts-{own}.json").write_text(json.dumps(found))
    raise ValueError("all have spoken")


if __name__ == "__main__":
    program, *words = sys.argv[1:]
    logging.getLogger("gsu_jax.unlearning").setLevel(logging.ERROR)  # runs of few steps
    number = json.loads(os.environ[LAUNCHED])["process_id"]
    Path(words[0]).mkdir(exist_ok=True)
    Path(words[0], f"pid-{number}").write_text(str(os.getpid()))
    sys.argv[1:] = []
    run = {"study": study, "sums": sums, "facts": facts}[program]
    run_command(lambda nothing: run(*words), Nothing())
