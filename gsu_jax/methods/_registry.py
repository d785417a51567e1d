"""Methods by name."""

from gsu_jax.methods._baselines import Before, FineTune, Retrain
from gsu_jax.methods._feature_unlearning import FeatureUnlearning
from gsu_jax.methods._gradient_ascent import GradientAscent
from gsu_jax.methods._gradient_surgery import GradientSurgery
from gsu_jax.methods._method import Method
from gsu_jax.methods._neg_grad_plus import NegGradPlus
from gsu_jax.methods._redirect_surgery import RedirectSurgery
from gsu_jax.methods._salun import SalUn
from gsu_jax.methods._scrub import SCRUB
from gsu_jax.methods._selective_amnesia import SelectiveAmnesia
from gsu_jax.methods._synaptic_dampening import SynapticDampening
from gsu_jax.methods._uno import UNO, UNOS
from gsu_jax.methods._vdu import VDU

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
