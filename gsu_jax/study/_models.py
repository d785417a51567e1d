"""The models of a study: pretrained, retrained and unlearned."""

from collections.abc import Callable
from typing import Literal

from gsu_jax.methods import Before, Method, Retrain
from gsu_jax.study._checkpointed_runs import (
    Network,
    Trained,
    Unlearned,
    read_trained,
    train_missing,
    unlearn_missing,
)
from gsu_jax.study._networks import fit_of
from gsu_jax.study._state import Study
from gsu_jax.unlearning import UnlearningResult

Role = Literal["baseline", "yardstick"]
Unlearn = Callable[[Method, int], UnlearningResult]  # of a method and a seed

# The generators that a study trains, as their checkpoints are named.
GENERATORS: dict[Role, str] = {"baseline": Before.name, "yardstick": Retrain.name}


def train_generators(study: Study, role: Role) -> None:
    """Trains the generators of a role whose checkpoints are missing.

    The baseline is trained on all images, the yardstick on the retained ones alone. Parameters that
    the study is given for the baseline become its checkpoints.
    """
    if role == "baseline" and study.before is not None:
        _keep_given(study)
        return
    images = study.setup.source.train if role == "baseline" else study.setup.split.retain
    network, seeds = generator_network(study, role, 0), study.seeds_of(role)
    train_missing(study.store, network, images.images, seeds, study.mesh)


def generator(study: Study, role: Role, seed: int) -> Trained:
    """Returns a generator from its checkpoint; trains it first if there is none."""
    if not study.store.has(f"{GENERATORS[role]}-{seed}"):
        train_generators(study, role)
    return read_trained(study.store, generator_network(study, role, seed), seed)


def generator_network(study: Study, role: Role, seed: int) -> Network:
    """Returns what the generator of a role and a seed is, and all that it depends on."""
    model, recipe = study.setup.model, study.setup.config.pretraining
    request = ("forget",) if role == "yardstick" else ()
    made_with = study.results.made_with("model", "pretraining", *request)
    if role == "baseline":
        made_with |= _given(study, seed)
    fit = fit_of(study.setup.config)
    return Network(GENERATORS[role], model.init, model.loss, recipe, made_with, fit)


def _given(study: Study, seed: int) -> dict[str, str]:
    """Returns the digest of the given parameters of a seed as an entry of `made_with`, if any."""
    digests = study.results.content["config"].get("before")
    return {} if digests is None else {"before": digests[str(seed)]}


def _keep_given(study: Study) -> None:
    """Saves the given parameters as the checkpoints of the baseline: trained in no time."""
    facts = {"seconds": 0.0, "compile_seconds": 0.0, "steps": 0}
    for seed, params in (study.before or {}).items():
        network = generator_network(study, "baseline", seed)
        if not study.store.has(f"{network.name}-{seed}"):
            study.store.save(
                f"{network.name}-{seed}", params, facts | {"seeds": [seed]}, network.made_with
            )


def unlearned(study: Study, method: Method, seed: int, unlearn: Unlearn) -> Unlearned:
    """Returns an unlearned model and its history; `unlearn` makes it if there is no checkpoint."""
    names = ("model", "pretraining", "forget", "epochs")
    return unlearn_missing(
        study.store,
        f"{method.title}-{seed}",
        lambda: unlearn(method, seed),
        generator_network(study, "baseline", seed).params_like,
        study.results.made_with(*names, method=method.title) | _given(study, seed),
    )


def model_of_row(study: Study, method: Method, seed: int, unlearn: Unlearn) -> Unlearned:
    """Returns the model that a row is about; a trained one has no history."""
    if method.role in GENERATORS:
        return Unlearned(generator(study, method.role, seed), {})
    return unlearned(study, method, seed, unlearn)


def has_checkpoint(study: Study, method: Method, seed: int) -> bool:
    """Returns whether the model that a row is about is there, without work."""
    name = method.name if method.role in GENERATORS else method.title
    return study.store.has(f"{name}-{seed}")
