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
from gsu_jax.study._state import Study
from gsu_jax.unlearning import UnlearningResult

Role = Literal["baseline", "yardstick"]
Unlearn = Callable[[Method, int], UnlearningResult]  # of a method and a seed

# The generators that a study trains, as their checkpoints are named.
GENERATORS: dict[Role, str] = {"baseline": Before.name, "yardstick": Retrain.name}


def train_generators(study: Study, role: Role) -> None:
    """Trains the generators of a role whose checkpoints are missing.

    The baseline is trained on all images, the yardstick on the retained ones alone.
    """
    images = study.setup.source.train if role == "baseline" else study.setup.split.retain
    network, seeds = generator_network(study, role), study.seeds_of(role)
    train_missing(study.store, network, images.images, seeds, study.mesh)


def generator(study: Study, role: Role, seed: int) -> Trained:
    """Returns a generator from its checkpoint; trains it first if there is none."""
    if not study.store.has(f"{GENERATORS[role]}-{seed}"):
        train_generators(study, role)
    return read_trained(study.store, generator_network(study, role), seed)


def generator_network(study: Study, role: Role) -> Network:
    """Returns what the generators of a role are, and all that they depend on."""
    model, recipe = study.setup.model, study.setup.config.pretraining
    request = ("forget",) if role == "yardstick" else ()
    made_with = study.results.made_with("model", "pretraining", *request)
    return Network(GENERATORS[role], model.init, model.loss, recipe, made_with)


def unlearned(study: Study, method: Method, seed: int, unlearn: Unlearn) -> Unlearned:
    """Returns an unlearned model and its history; `unlearn` makes it if there is no checkpoint."""
    names = ("model", "pretraining", "forget", "epochs")
    return unlearn_missing(
        study.store,
        f"{method.title}-{seed}",
        lambda: unlearn(method, seed),
        generator_network(study, "baseline").params_like,
        study.results.made_with(*names, method=method.title),
    )


def model_of_row(study: Study, method: Method, seed: int, unlearn: Unlearn) -> Trained:
    """Returns the model that a row is about."""
    if method.role in GENERATORS:
        return generator(study, method.role, seed)
    return unlearned(study, method, seed, unlearn).trained
