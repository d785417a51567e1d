"""A study of seconds for the tests, and a run of it that is killed at a chosen moment.

python tests/tiny_study.py FOLDER CACHE [TEXT N]     SIGKILL at the N-th file named like TEXT
"""

import json
import logging
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import jax
from jax.experimental.compilation_cache import compilation_cache

from gsu_jax import GradientAscent, networks
from gsu_jax.data import load, scale_images
from gsu_jax.metrics import RESIDUAL_METRICS
from gsu_jax.models import AllCNNConfig, Classifier, MLPVAEConfig, Prediction
from gsu_jax.study import Recipe, StudyConfig, run_study
from gsu_jax.study import _checkpointed_runs as trained

DIVERGING = GradientAscent(label="diverging", learning_rate=1e30)
METHODS = ("before", "retrain", "gradient_ascent", DIVERGING)
ROOT = Path(__file__).parents[1]
# Another process finds the package in the checkout, installed or not.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
RUN_OPTIONS = ("models_from", "mesh", "before", "metrics", "loggers")
TIMES = ("seconds", "compile_seconds")


def _judge(kernel, images):
    flat = scale_images(images).reshape(len(images), -1)
    return Prediction(logits=flat @ kernel, features=flat[:, 18:24])


JUDGE = Classifier(lambda key: 0.1 * jax.random.normal(key, (64, 10)), _judge, "six pixels")


def quick_judge():
    """A context in which every study has a judge of one layer, which compiles at once."""
    return mock.patch.object(networks, "classifier", return_value=JUDGE)


def tiny_config(**changes) -> StudyConfig:
    settings = {
        "experiment": "tiny",
        "dataset": "digits",
        "forget": "1",
        "model": MLPVAEConfig(widths=(16,), latent_size=4),
        "judge": AllCNNConfig(widths=(4, 8)),
        "judge_gate": 0.2,
        "pretraining": Recipe(epochs=3, batch_size=128),
        "judging": Recipe(epochs=3, batch_size=64, learning_rate=3e-3),
        "ensemble": 0,
        "samples": 200,
    }
    return StudyConfig(**settings | changes)


def run_tiny(folder, *, methods=METHODS, seeds=2, **changes) -> dict:
    options = {"methods": methods, "seeds": seeds}
    options |= {name: changes.pop(name) for name in RUN_OPTIONS if name in changes}
    config, source = tiny_config(**changes), load("digits")
    with quick_judge():
        return run_study(config, source, folder, **options)


def without_times(results: dict) -> dict:
    """What two runs of one study have in common."""
    return {
        "config": results["config"],
        "reference": results["reference"],
        "rows": [{k: v for k, v in row.items() if k not in TIMES} for row in results["rows"]],
        "summary": [entry for entry in results["summary"] if entry["metric"] not in TIMES],
    }


def without_residuals(rows: list[dict]) -> list[dict]:
    """Rows without the figures that change with the retrained models."""
    return [{k: v for k, v in row.items() if k not in RESIDUAL_METRICS} for row in rows]


def read(folder) -> dict:
    return json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))


@contextmanager
def compiled_programs_kept_in(folder):
    """So that the same study in another process compiles nothing again."""
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    earlier = {name: getattr(jax.config, name) for name in settings}
    for values in (settings, earlier):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is settings:
            yield


def stop_before(text: str, times: int, error: type[BaseException] | None = None) -> None:
    """Stops before the `times`-th file named like `text`: by `error`, or by SIGKILL.

    Every file that a study finishes arrives through os.replace.
    """
    replace = os.replace
    seen = 0

    def replace_or_stop(source, target, **options):
        nonlocal seen
        seen += text in str(target)
        if seen == times:
            if error is not None:
                raise error
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(source, target, **options)

    os.replace = replace_or_stop


if __name__ == "__main__":
    out, cache, *moment = sys.argv[1:]
    logging.getLogger("gsu_jax.unlearning").setLevel(logging.ERROR)  # runs of few steps
    # As the suite has it (conftest.py): a program is kept for one number of devices.
    jax.config.update("jax_num_cpu_devices", 8)
    trained.SAVE_EVERY = 0.0
    if moment:
        stop_before(moment[0], int(moment[1]))
    with compiled_programs_kept_in(cache):
        run_tiny(out)
