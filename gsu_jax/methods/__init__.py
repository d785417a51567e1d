"""Unlearning methods: each a frozen dataclass of settings that says what one step is."""

from gsu_jax.methods.baselines import Before, FineTune, Retrain
from gsu_jax.methods.gradient_ascent import GradientAscent
from gsu_jax.methods.gradient_surgery import GradientSurgery
from gsu_jax.methods.method import Batch, Method, StepGradients
from gsu_jax.methods.redirect_surgery import RedirectSurgery

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (Before, Retrain, FineTune, GradientAscent, GradientSurgery, RedirectSurgery)
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
    "Batch",
    "Before",
    "FineTune",
    "GradientAscent",
    "GradientSurgery",
    "Method",
    "RedirectSurgery",
    "Retrain",
    "StepGradients",
    "get_method",
]
