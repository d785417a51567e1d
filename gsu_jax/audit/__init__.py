"""Attacks on an unlearned model, and what they show: pure functions of arrays and of pytrees.

    scores = lira(phi, shadows, members)            # [images], larger means a member
    attack = attack_rates(scores[forgotten], scores[held_out])

Nothing here trains a generator: shadows and retrained models come from the caller.
"""

from gsu_jax.audit._bavaria import bavaria
from gsu_jax.audit._clopper_pearson import clopper_pearson
from gsu_jax.audit._epsilon import epsilon_lower_bound, split_epsilon
from gsu_jax.audit._lira import lira
from gsu_jax.audit._one_run import one_run_epsilon
from gsu_jax.audit._rates import Attack, Rate, attack_rates
from gsu_jax.audit._rmia import rmia

__all__ = [
    "Attack",
    "Rate",
    "attack_rates",
    "bavaria",
    "clopper_pearson",
    "epsilon_lower_bound",
    "lira",
    "one_run_epsilon",
    "rmia",
    "split_epsilon",
]
