"""Unlearning methods: each a frozen dataclass of settings that says what one step is.

`METHODS` has the methods of a study by name. The others are given as objects: `CAGrad(c=0.2)`.
"""

from gsu_jax.methods._baselines import Before, FineTune, Retrain
from gsu_jax.methods._cagrad import CAGrad
from gsu_jax.methods._dimum import DiMUM
from gsu_jax.methods._erasediff import EraseDiff
from gsu_jax.methods._feature_unlearning import FeatureUnlearning
from gsu_jax.methods._gradient_ascent import GradientAscent
from gsu_jax.methods._gradient_surgery import GradientSurgery
from gsu_jax.methods._gru import GRU
from gsu_jax.methods._influence import InfluenceStep
from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods._munba import MUNBa
from gsu_jax.methods._neg_grad_plus import NegGradPlus
from gsu_jax.methods._pcgrad import PCGrad
from gsu_jax.methods._project_retain import ProjectRetain
from gsu_jax.methods._redirect_diffusion import RedirectDiffusion
from gsu_jax.methods._redirect_flow import RedirectFlow
from gsu_jax.methods._redirect_surgery import RedirectSurgery
from gsu_jax.methods._registry import METHODS, can_work_on, check_method, get_method
from gsu_jax.methods._retrack import ReTrack
from gsu_jax.methods._salun import SalUn
from gsu_jax.methods._scrub import SCRUB
from gsu_jax.methods._selective_amnesia import SelectiveAmnesia
from gsu_jax.methods._siss import SISS
from gsu_jax.methods._surgery_in_adam_metric import SurgeryInAdamMetric
from gsu_jax.methods._synaptic_dampening import SynapticDampening
from gsu_jax.methods._uno import UNO, UNOS
from gsu_jax.methods._vdu import VDU
from gsu_jax.methods.ingredients import negative

__all__ = [
    "GRU",
    "METHODS",
    "SCRUB",
    "SISS",
    "UNO",
    "UNOS",
    "VDU",
    "Batch",
    "Before",
    "CAGrad",
    "DiMUM",
    "EraseDiff",
    "FeatureUnlearning",
    "FineTune",
    "GradientAscent",
    "GradientSurgery",
    "InfluenceStep",
    "MUNBa",
    "Method",
    "NegGradPlus",
    "PCGrad",
    "ProjectRetain",
    "ReTrack",
    "RedirectDiffusion",
    "RedirectFlow",
    "RedirectSurgery",
    "Retrain",
    "SalUn",
    "SelectiveAmnesia",
    "StepGradients",
    "SurgeryInAdamMetric",
    "SynapticDampening",
    "can_work_on",
    "check_method",
    "get_method",
    "negative",
]
