"""The methods of a study by name."""

from gsu_jax.checks import unknown
from gsu_jax.methods._baselines import Before, FineTune, Retrain
from gsu_jax.methods._dimum import DiMUM
from gsu_jax.methods._erasediff import EraseDiff
from gsu_jax.methods._feature_unlearning import FeatureUnlearning
from gsu_jax.methods._gradient_ascent import GradientAscent
from gsu_jax.methods._gradient_surgery import GradientSurgery
from gsu_jax.methods._influence import InfluenceStep
from gsu_jax.methods._method import Method
from gsu_jax.methods._munba import MUNBa
from gsu_jax.methods._neg_grad_plus import NegGradPlus
from gsu_jax.methods._redirect_diffusion import RedirectDiffusion
from gsu_jax.methods._redirect_flow import RedirectFlow
from gsu_jax.methods._redirect_surgery import RedirectSurgery
from gsu_jax.methods._retrack import ReTrack
from gsu_jax.methods._salun import SalUn
from gsu_jax.methods._scrub import SCRUB
from gsu_jax.methods._selective_amnesia import SelectiveAmnesia
from gsu_jax.methods._siss import SISS
from gsu_jax.methods._synaptic_dampening import SynapticDampening
from gsu_jax.methods._uno import UNO, UNOS
from gsu_jax.methods._vdu import VDU
from gsu_jax.models import GenerativeModel

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Before,
        Retrain,
        FineTune,
        GradientAscent,
        GradientSurgery,
        RedirectSurgery,
        RedirectFlow,
        RedirectDiffusion,
        ReTrack,
        SISS,
        NegGradPlus,
        MUNBa,
        UNO,
        UNOS,
        FeatureUnlearning,
        SelectiveAmnesia,
        EraseDiff,
        SalUn,
        DiMUM,
        SynapticDampening,
        InfluenceStep,
        SCRUB,
        VDU,
    )
}


def get_method(method: str | Method) -> Method:
    """Returns the method with this name and its default settings, or the given method itself.

    Args:
        method: a name in `METHODS`, or a method with settings of its own.

    Raises:
        ValueError: no method has this name.

    Example:
        >>> get_method("uno").weight
        1000.0
        >>> get_method(UNO(weight=300.0)).weight
        300.0
    """
    if isinstance(method, Method):
        return method
    if not isinstance(method, str) or method not in METHODS:
        raise unknown("method", "method", method, METHODS)
    return METHODS[method]()


def check_method(method: Method, model: GenerativeModel) -> None:
    """Checks before the run that the model has what the method needs.

    Raises:
        ValueError: the model lacks a function, and then the message names the methods that can work
            on it; or a setting does not fit the model.
    """
    try:
        method.check(model)
    except ValueError as error:
        if can_work_on(method, model):
            raise
        able = [n for n, m in METHODS.items() if m.role == "method" and can_work_on(m, model)]
        raise ValueError(f"{error}. Methods that can work on it: {', '.join(able)}") from None


def can_work_on(method: Method | type[Method], model: GenerativeModel) -> bool:
    """Returns whether the model has the functions that the method needs.

    Example:
        >>> loss_alone = GenerativeModel(init=None, loss=None, sample=None)
        >>> can_work_on(GradientSurgery(), loss_alone), can_work_on(RedirectFlow(), loss_alone)
        (True, False)
    """
    return model.has(*method.needs) or (bool(method.instead) and model.has(*method.instead))
