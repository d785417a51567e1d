"""What a run will cost, and what a verification can see: measured before anything changes."""

import math
import sys
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from gsu_jax.audit import attack_power, detectable_shift, equivalence_power
from gsu_jax.data import Source
from gsu_jax.methods import Method
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.removal.service._lines import level_of
from gsu_jax.removal.service._measures import chance_to_find, without_warnings
from gsu_jax.removal.service._stop import count_steps
from gsu_jax.removal.service._subject import IMAGES
from gsu_jax.removal.service._tier0 import WEIGHTS, weights_show
from gsu_jax.unlearning import unlearn

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None

STEPS = 100  # of a run, if the request has no epochs
PROBED = 8  # steps that are timed; draws of the conflict
MODELS = 10  # retrained models of a verification
SHADOWS = 32  # shadow models of tier 2


class Quote(NamedTuple):
    """The cost of a run.

    Attributes:
        seconds: The run itself, with what the method prepares.
        compile_seconds: Of this machine; less in a later process.
        steps: Of the run.
        peak_bytes: The most memory so far, of the device if it counts, else of this process; the
            steps that were timed take what a run takes. None if neither can be told.
    """

    seconds: float
    compile_seconds: float
    steps: int
    peak_bytes: int | None = None


def default_epochs(method: Method, forgotten: int) -> int:
    """As many as make `STEPS` steps."""
    if method.visits != "forget":
        return 1
    return max(1, -(-STEPS // math.ceil(forgotten / method.default_batch_size(forgotten, 1))))


def quote_run(
    model: GenerativeModel,
    params: Params,
    forget: np.ndarray,
    retain: np.ndarray,
    method: Method,
    epochs: int,
) -> Quote:
    """Times the first steps of the run, which it leaves unfinished."""
    steps = count_steps(method, len(forget), len(retain), epochs)
    times: list[tuple[int, float]] = []

    def watch(done: int, *_: Any) -> bool:
        times.append((done, time.perf_counter()))
        return done >= 2 * PROBED

    with without_warnings():
        began = unlearn(
            model, params, forget, retain, method=method, key=jax.random.key(0), epochs=epochs,
            callback=watch, callback_every=PROBED,
        )  # fmt: skip
    if len(times) < 2:
        return Quote(began.seconds, began.compile_seconds, began.steps, _peak_bytes())
    (first, start), (last, end) = times[0], times[-1]
    step = (end - start) / max(last - first, 1)
    seconds = began.seconds + step * max(steps - began.steps, 0)
    return Quote(seconds, began.compile_seconds, steps, _peak_bytes())


def _peak_bytes() -> int | None:
    counted = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in counted:
        return counted["peak_bytes_in_use"]
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def conflict(
    model: GenerativeModel, params: Params, forget: np.ndarray, retain: np.ndarray
) -> tuple[float, float]:
    """Mean cosine of both gradients over random batches, and the share of batches below 0."""
    rng, cosines = np.random.default_rng(0), []
    size = min(64, len(forget), len(retain))

    @jax.jit
    def cosine(params: Params, forget: Any, retain: Any, key: jax.Array) -> jax.Array:
        one, other = (
            ravel_pytree(jax.grad(model.loss)(params, batch, key))[0] for batch in (forget, retain)
        )
        norms = jax.numpy.linalg.norm(one) * jax.numpy.linalg.norm(other)
        return -(one @ other) / jax.numpy.maximum(norms, 1e-30)

    for number in range(PROBED):
        batches = (
            np.float32(images[rng.choice(len(images), size, replace=False)])
            / (255 if images.dtype == np.uint8 else 1)
            for images in (forget, retain)
        )
        cosines.append(float(cosine(params, *batches, jax.random.key(number))))
    return float(np.mean(cosines)), float(np.mean(np.array(cosines) < 0))


def count_like(source: Source, split: Any, target: Any) -> int:
    """The number of held-out images of the kind that is forgotten."""
    if target:
        return split.test.counts["forget"]
    labels = np.unique(split.train.forget.attributes[source.label])
    return int(np.isin(source.test.attributes[source.label], labels).sum())


def trainings(
    claim: str, retraining: Quote | None, epochs: int, run: Quote
) -> list[tuple[int, int, float]]:
    """What each tier of a verification trains: tier, models, seconds.

    Half of the models are originals, which also unlearn, and are trained for one more epoch.

    Args:
        claim: Of the request.
        retraining: The cost of a training, if it can be told.
        epochs: Of a training.
        run: The cost of the method.
    """
    if retraining is None:
        return []
    tiers = {1: 2 * MODELS} | ({2: 2 * MODELS + SHADOWS} if claim == "rows" else {})
    after = MODELS * (run.seconds + retraining.seconds / epochs)
    compiling = retraining.compile_seconds + run.compile_seconds
    return [
        (tier, models, models * retraining.seconds + after + compiling)
        for tier, models in tiers.items()
    ]


def powers(claim: str, n: int, held_out: int) -> list[tuple[str, str, float]]:
    """What the lines of a claim can see: line, effect, and the chance to see it.

    What the shares of samples can show depends on the judge, which is not trained yet.
    """
    found = []
    n, held_out = min(n, IMAGES), min(held_out, IMAGES)
    if claim != "concept" and held_out:
        found.append(("copies", "an AUC of 0.7 of distances", attack_power(0.75, n, held_out)))
    if held_out:
        leak = chance_to_find(n, WEIGHTS, lambda k: weights_show(k, n, held_out))
        found.append(("weights", f"{WEIGHTS:.0%} of the images in the weights", leak))
    if claim == "rows" and held_out:
        effect = f"an AUC of 0.7 of {n} images against {held_out}"
        found.append(("membership, epsilon", effect, attack_power(0.75, n, held_out)))
    if claim != "concept":
        shift = detectable_shift(1, MODELS, level=level_of(claim, 1))
        found.append((
            "evidence, set, recovery",
            f"{shift:.1f} deviations of {MODELS} retrained models", 0.8,
        ))  # fmt: skip
        equal = equivalence_power(1.5, MODELS, MODELS)
        found.append(("equivalence", f"1.5 deviations, {MODELS} models a side", equal))
    return found
