"""The run of a plan: whole, or up to the last check that is within the budget."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from gsu_jax.data import Examples
from gsu_jax.methods import Method
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.removal.service._facts import method_of
from gsu_jax.removal.service._files import Record
from gsu_jax.unlearning import UnlearningResult, unlearn

CHECKS = 10  # of a run, one after each tenth of its steps


def count_steps(method: Method, forgotten: int, retained: int, epochs: int) -> int:
    """The steps of a run on so many images."""
    visited = forgotten if method.visits == "forget" else retained
    return epochs * math.ceil(visited / method.default_batch_size(visited, epochs))


def unlearn_as_planned(
    model: GenerativeModel,
    params: Params,
    forget: Examples,
    retain: Examples,
    facts: Record,
    seed: int,
    exceeds: Callable[[Params], bool],
) -> UnlearningResult:
    """Unlearns with the method, the epochs and the stop rule of a plan.

    Args:
        model: The model.
        params: Of the checkpoint.
        forget: The images to forget.
        retain: The images to retain.
        facts: What `plan` wrote down.
        seed: Of the run.
        exceeds: Whether parameters are above the budget, by the upper end of an interval. With
            `stop_at_budget` it is asked after each tenth of the steps. The run ends where it says
            yes, and the parameters of the check before are returned; of this one if it is the
            first.

    Returns:
        An `UnlearningResult`; `stopped` if the run ended early.
    """
    method, epochs = method_of(facts), facts["epochs"]
    settings: dict[str, Any] = {"method": method, "key": jax.random.key(seed), "epochs": epochs}
    if not facts.get("stop_at_budget"):
        return unlearn(model, params, forget, retain, **settings)
    every = max(1, count_steps(method, len(forget), len(retain), epochs) // CHECKS)
    within: list[tuple[int, Params]] = []
    checked = 0

    def watch(done: int, _: Any, found: Params) -> bool:
        nonlocal checked
        if done - checked < every:  # the end of an epoch between two checks
            return False
        checked = done
        if exceeds(found):
            return True
        within[:] = [(done, jax.tree.map(np.asarray, found))]
        return False

    result = unlearn(
        model, params, forget, retain, callback=watch, callback_every=every, **settings
    )
    if within and (result.stopped or exceeds(result.params)):
        steps, kept = within[0]
        return replace(result, params=kept, steps=steps, stopped=True)
    return result
