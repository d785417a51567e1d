"""Unlearning methods: each a frozen dataclass of settings that says what one step is."""

from gsu_jax.methods.baselines import Before, FineTune, Retrain
from gsu_jax.methods.feature_unlearning import FeatureUnlearning
from gsu_jax.methods.gradient_ascent import GradientAscent
from gsu_jax.methods.gradient_surgery import GradientSurgery
from gsu_jax.methods.method import Batch, Method, StepGradients
from gsu_jax.methods.neg_grad_plus import NegGradPlus
from gsu_jax.methods.redirect_surgery import RedirectSurgery
from gsu_jax.methods.salun import SalUn
from gsu_jax.methods.scrub import SCRUB
from gsu_jax.methods.selective_amnesia import SelectiveAmnesia
from gsu_jax.methods.synaptic_dampening import SynapticDampening
from gsu_jax.methods.uno import UNO, UNOS
from gsu_jax.methods.vdu import VDU

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Before,
        Retrain,
        FineTune,
        GradientAscent,
        GradientSurgery,
        RedirectSurgery,
        NegGradPlus,
        UNO,
        UNOS,
        FeatureUnlearning,
        SelectiveAmnesia,
        SalUn,
        SynapticDampening,
        SCRUB,
        VDU,
    )
}


def get_method(method: str | Method) -> Method:
    """The method of that name with its default settings, or the given one itself."""
    if isinstance(method, Method):
        return method
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"unknown method {method!r}; known are {', '.join(METHODS)}. A method with settings "
            "of its own is given as an object, such as GradientSurgery(when='conflict')."
        )
    return METHODS[method]()


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
]
