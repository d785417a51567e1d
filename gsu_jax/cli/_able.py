"""Which methods "all" means."""

from collections.abc import Mapping

from gsu_jax.methods import Method, can_work_on
from gsu_jax.models import GenerativeModel
from gsu_jax.study import StudyConfig


def able(study: StudyConfig, known: Mapping[str, Method]) -> list[str]:
    """Returns the methods that can work on a study's model, which is what "all" means."""
    model = study.model
    if not isinstance(model, GenerativeModel):
        # Flax takes seconds to import, which --help should not wait for.
        from gsu_jax import networks

        model = networks.generator(model)
    return [title for title, method in known.items() if can_work_on(method, model)]
