"""Attacks on an unlearned model, and what they show: pure functions of arrays and of pytrees.

    scores = lira(phi, shadows, members)            # [images], larger means a member
    attack = attack_rates(scores[forgotten], scores[held_out])
    line = position_line("set", statistic, retrained, effect=3.5, random="base seeds")
    worst([line, ...]).verdict                      # PASSED, NOT DETECTABLE, NOT RUN or FAILED

Nothing here trains a generator: shadows and retrained models come from the caller. The
bounds of epsilon from scores are those of jax-privacy (extra `audit`).
"""

from gsu_jax.audit._attack_power import attack_power, auc_of_shift, tpr_of_shift
from gsu_jax.audit._auc_change import auc_change
from gsu_jax.audit._bavaria import bavaria
from gsu_jax.audit._clopper_pearson import clopper_pearson
from gsu_jax.audit._copies import Copies, nearest_copies
from gsu_jax.audit._epsilon import EpsilonBounds, epsilon_bounds
from gsu_jax.audit._half_splits import half_splits
from gsu_jax.audit._lines import equivalence_line, position_line, shared_level
from gsu_jax.audit._lira import lira
from gsu_jax.audit._one_run import one_run_epsilon
from gsu_jax.audit._parameters import perturb, prune, quantize
from gsu_jax.audit._power import detectable_shift, difference_power, equivalence_power
from gsu_jax.audit._probe import ridge_probe
from gsu_jax.audit._rates import Attack, Rate, attack_rates
from gsu_jax.audit._recovery import Recovery, recover_latents
from gsu_jax.audit._relative import RelativeTest, relative_test
from gsu_jax.audit._relearning import Relearning, relearning_cost, relearning_steps
from gsu_jax.audit._rmia import rmia
from gsu_jax.audit._self_test import KnownModels, SelfTest, self_test
from gsu_jax.audit._set_attack import SetAttack, set_attack
from gsu_jax.audit._verdicts import Line, Verdict, judge, not_run, worst
from gsu_jax.audit._weight_leak import WeightLeak, chance_above, weight_leak

__all__ = [
    "Attack",
    "Copies",
    "EpsilonBounds",
    "KnownModels",
    "Line",
    "Rate",
    "Recovery",
    "RelativeTest",
    "Relearning",
    "SelfTest",
    "SetAttack",
    "Verdict",
    "WeightLeak",
    "attack_power",
    "attack_rates",
    "auc_change",
    "auc_of_shift",
    "bavaria",
    "chance_above",
    "clopper_pearson",
    "detectable_shift",
    "difference_power",
    "epsilon_bounds",
    "equivalence_line",
    "equivalence_power",
    "half_splits",
    "judge",
    "lira",
    "nearest_copies",
    "not_run",
    "one_run_epsilon",
    "perturb",
    "position_line",
    "prune",
    "quantize",
    "recover_latents",
    "relative_test",
    "relearning_cost",
    "relearning_steps",
    "ridge_probe",
    "rmia",
    "self_test",
    "set_attack",
    "shared_level",
    "tpr_of_shift",
    "weight_leak",
    "worst",
]
