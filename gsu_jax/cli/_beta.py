"""The option --beta: another weight of the KL term of a VAE."""

from dataclasses import replace
from typing import Any

from gsu_jax.study import StudyConfig


def with_beta(study: StudyConfig, beta: float | None) -> StudyConfig:
    """Returns a study whose VAE is trained with `beta`; as it is for None.

    Raises:
        ValueError: the study's model has no beta, or `beta` is below 0.

    Example:
        >>> from gsu_jax.models import MLPVAEConfig
        >>> study = StudyConfig("mine", "digits", "1", MLPVAEConfig())
        >>> with_beta(study, 4.0).model.beta, with_beta(study, None) is study
        (4.0, True)

    References:
        Higgins et al., `beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
        Framework <https://openreview.net/forum?id=Sy2fzU9gl>`_, 2017.
    """
    if beta is None:
        return study
    model: Any = study.model
    if not hasattr(model, "beta"):
        raise ValueError(
            f"--beta {beta:g} weighs the KL term of a VAE, but the model of this study is a "
            f"{type(model).__name__}; leave --beta out"
        )
    return replace(study, model=replace(model, beta=beta))
