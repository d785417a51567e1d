"""Make a trained generative model forget, by gradient surgery, in JAX.

The core (everything named here) needs jax, optax and numpy alone. `gsu_jax.data`, `gsu_jax.models`,
`gsu_jax.metrics`, `gsu_jax.study` and `gsu_jax.report` are imported by name, with
`pip install "gsu-jax[experiments]"`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gsu_jax.methods import (
        METHODS,
        SCRUB,
        SISS,
        UNO,
        UNOS,
        VDU,
        Before,
        DiMUM,
        EraseDiff,
        FeatureUnlearning,
        FineTune,
        GradientAscent,
        GradientSurgery,
        InfluenceStep,
        Method,
        MUNBa,
        NegGradPlus,
        RedirectDiffusion,
        RedirectFlow,
        RedirectSurgery,
        ReTrack,
        Retrain,
        SalUn,
        SelectiveAmnesia,
        SynapticDampening,
    )
    from gsu_jax.models import Classifier, GenerativeModel, Prediction
    from gsu_jax.surgery import (
        Conflict,
        ForgetRetainGrads,
        add_retain_gradient,
        conflict_labels,
        forget_retain_grads,
        layer_conflicts,
        layer_labels,
        measure_conflict,
        multi_steps,
        project,
        project_cone,
        project_conflicting,
        project_subspace,
    )
    from gsu_jax.surgery.rules import (
        barrier,
        cagrad,
        gru,
        nash,
        pcgrad,
        project_retain,
        projected_adam,
    )
    from gsu_jax.unlearning import StopRule, UnlearningResult, unlearn

__version__ = "0.1.0.dev0"

__all__ = [
    "METHODS",
    "SCRUB",
    "SISS",
    "UNO",
    "UNOS",
    "VDU",
    "Before",
    "Classifier",
    "Conflict",
    "DiMUM",
    "EraseDiff",
    "FeatureUnlearning",
    "FineTune",
    "ForgetRetainGrads",
    "GenerativeModel",
    "GradientAscent",
    "GradientSurgery",
    "InfluenceStep",
    "MUNBa",
    "Method",
    "NegGradPlus",
    "Prediction",
    "ReTrack",
    "RedirectDiffusion",
    "RedirectFlow",
    "RedirectSurgery",
    "Retrain",
    "SalUn",
    "SelectiveAmnesia",
    "StopRule",
    "SynapticDampening",
    "UnlearningResult",
    "add_retain_gradient",
    "barrier",
    "cagrad",
    "conflict_labels",
    "forget_retain_grads",
    "gru",
    "layer_conflicts",
    "layer_labels",
    "measure_conflict",
    "multi_steps",
    "nash",
    "pcgrad",
    "project",
    "project_cone",
    "project_conflicting",
    "project_retain",
    "project_subspace",
    "projected_adam",
    "unlearn",
]

_CORE = ("surgery", "surgery.rules", "models", "methods", "unlearning")


def __getattr__(name: str) -> Any:
    """Imports the core when a name of it is first used: JAX takes a second to import."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in __all__:
        for package in (import_module(f"{__name__}.{core}") for core in _CORE):
            names = set(__all__).intersection(package.__all__)
            globals().update({found: getattr(package, found) for found in names})
        return globals()[name]
    module = f"{__name__}.{name}"
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # a package that ours needs is missing
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
