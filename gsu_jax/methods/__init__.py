"""Unlearning methods: each a frozen dataclass of settings that says what one step is."""

from gsu_jax.methods._baselines import Before, FineTune, Retrain
from gsu_jax.methods._feature_unlearning import FeatureUnlearning
from gsu_jax.methods._gradient_ascent import GradientAscent
from gsu_jax.methods._gradient_surgery import GradientSurgery, negative
from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods._neg_grad_plus import NegGradPlus
from gsu_jax.methods._redirect_surgery import RedirectSurgery
from gsu_jax.methods._registry import METHODS, get_method
from gsu_jax.methods._salun import SalUn
from gsu_jax.methods._scrub import SCRUB
from gsu_jax.methods._selective_amnesia import SelectiveAmnesia
from gsu_jax.methods._synaptic_dampening import SynapticDampening
from gsu_jax.methods._uno import UNO, UNOS
from gsu_jax.methods._vdu import VDU

__all__ = [
    "METHODS",
    "SCRUB",
    "UNO",
    "UNOS",
    "VDU",
    "Batch",
    "Before",
    "FeatureUnlearning",
    "FineTune",
    "GradientAscent",
    "GradientSurgery",
    "Method",
    "NegGradPlus",
    "RedirectSurgery",
    "Retrain",
    "SalUn",
    "SelectiveAmnesia",
    "StepGradients",
    "SynapticDampening",
    "get_method",
    "negative",
]
