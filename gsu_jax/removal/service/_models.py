"""Models of a verification, each trained once: retrained, original, unlearned, fine-tuned."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gsu_jax.data import Examples
from gsu_jax.methods import FineTune, Method, Retrain
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.removal._request_file import Training
from gsu_jax.removal.service._case import Case
from gsu_jax.removal.service._files import Record
from gsu_jax.removal.service._imports import call_function
from gsu_jax.removal.service._measures import train_judge, utility, without_warnings
from gsu_jax.removal.service._stop import unlearn_as_planned
from gsu_jax.runtime import stage
from gsu_jax.storage import Artifacts
from gsu_jax.unlearning import UnlearningResult, unlearn

MODELS_FOLDER = "models"
RETRAINED, ORIGINAL, SHADOW = 1000, 2000, 3000  # first seeds
KNOWN = ("retrained", "original", "fine_tuned")  # models whose verdict is known
SHARED = (*KNOWN, "shadow")  # kinds that no method has touched


class Ensemble(NamedTuple):
    """Models whose verdict is known, and the unlearned ones; seed i is the same in each.

    Attributes:
        retrained: Trained without the images.
        original: Trained with them, as the checkpoint was; without those of earlier requests.
        unlearned: The originals after the method.
        fine_tuned: The originals after one pass over the retained images.
    """

    retrained: list[Params]
    original: list[Params]
    unlearned: list[Params]
    fine_tuned: list[Params]


class SharedModels:
    """Models that cases of the same images and the same checkpoint have in common.

    No method has touched them: retrained ones, originals, these trained on, shadow models, and the
    judge. So several methods can be held against the same models. No case purges them: remove the
    folder yourself.

    Args:
        folder: Where they are kept.
        originals: Where originals are kept, which cases of other images can have in common too; by
            default with the others.

    Example:
        >>> SharedModels("models-of-1").originals.name
        'models-of-1'
    """

    def __init__(self, folder: str | os.PathLike, originals: str | os.PathLike | None = None):
        self.folder, self.originals = Path(folder), Path(originals or folder)
        self.kept: dict[Any, np.ndarray] = {}  # what was measured of them


class Trained:
    """The models of a case, from its folder or made now.

    Args:
        case: With training.
        params: Of any model of the case, for the structure.
        shared: Those that other cases have too.
    """

    def __init__(self, case: Case, params: Params, shared: SharedModels | None = None):
        self.case, self.like, self.shared = case, params, shared
        self.store = self.common = self.originals = Artifacts(case.folder / MODELS_FOLDER)
        if shared:
            self.common, self.originals = Artifacts(shared.folder), Artifacts(shared.originals)

    def ensemble(self, models: int) -> Ensemble:
        """Returns so many models of each kind."""
        case, split = self.case, self.case.split
        forget, retain = split.train.forget.images, split.train.retain.images
        facts, held_out = case.facts, split.test.retain.images

        def unlearned(i: int) -> Params:
            before = self.original(i)

            def exceeds(params: Params) -> bool:
                high = utility(case.model, before, params, held_out).high
                return not high <= facts["utility_budget"]

            return unlearn_as_planned(
                case.model, before, forget, retain, facts, facts["seed"] + i, exceeds
            ).params

        kinds: dict[str, Callable[[int], Params]] = {
            "retrained": lambda i: self.train(retain, RETRAINED + i),
            "original": lambda i: self.train(split.train.dataset.images, ORIGINAL + i),
            "unlearned": unlearned,
            "fine_tuned": lambda i: tune(case.model, self.original(i), retain).params,
        }
        found: dict[str, list[Params]] = {kind: [] for kind in kinds}
        title = "train models to compare with"
        with without_warnings(), stage(title, models * len(kinds)) as advance:
            for kind, make in kinds.items():
                for i in range(models):
                    advance(0, f"{kind} {i + 1}")
                    found[kind].append(self._once(kind, i, make))
                    advance(1)
        return Ensemble(**found)

    def shadows(self, candidates: Examples, members: np.ndarray) -> Iterator[Params]:
        """Yields models of the retained images and of those candidates that are its members.

        Args:
            candidates: Images to forget, and others that no model of the case was trained with.
            members: `[models, candidates]`.
        """
        retain = self.case.split.train.retain.images

        def shadow(i: int) -> Params:
            images = np.concatenate([retain, candidates[members[i]]])
            return self.train(images, SHADOW + i)

        with without_warnings(), stage("train shadow models", len(members)) as advance:
            for i in range(len(members)):
                advance(0, f"shadow {i + 1}")
                yield self._once("shadow", i, shadow)
                advance(1)

    def original(self, i: int) -> Params:
        """Returns an original of another seed than the checkpoint, which was trained before."""
        return self.originals.load(f"original-{i}", self.like)

    def train(self, images: Examples, seed: int) -> Params:
        """Trains a model as the request says that the checkpoint was trained."""
        training, case = self.case.training, self.case
        assert training is not None
        if training.function:
            return call_function(training.function, case.facts["modules"], images, seed)
        return train_model(case.model, images, training, seed)

    def retrained(self, models: int) -> list[Params]:
        """Returns so many models that were trained without the images, of this request alone."""
        retain = self.case.split.train.retain.images
        with without_warnings():
            return [
                self._once("retrained", i, lambda i: self.train(retain, RETRAINED + i))
                for i in range(models)
            ]

    def judge(self, attribute: str, like: Params) -> Params:
        """Returns the parameters of the judge of an attribute."""
        target = self.case.target
        kind = "judge" if target and target[0] == attribute else f"judge-{attribute}"
        return self._once(kind, 0, lambda _: train_judge(self.case.source, attribute), like)

    def _once(self, kind: str, i: int, make: Callable[[int], Params], like: Any = None) -> Params:
        name, made_with = f"{kind}-{i}", self._made_with(kind)
        like = self.like if like is None else like
        store = self.common if self._is_shared(kind) else self.store
        store = self.originals if kind == "original" else store
        if kind == "unlearned" and store.has(name) and not store.fits(name, made_with):
            store.remove(name)  # of an earlier plan of this request
        if not store.has(name):
            store.save(name, make(i), {}, made_with)
        store.facts(name, made_with)
        return store.load(name, like)

    def _is_shared(self, kind: str) -> bool:
        return self.shared is not None and (kind in SHARED or kind.startswith("judge"))

    def _made_with(self, kind: str) -> Record:
        facts = self.case.facts
        names = ["data", "fingerprint", "model", "train"]
        if facts.get("earlier"):  # which images are left depends on what went before
            names += ["base"]
        if self._is_shared(kind) and kind != "original":
            images = hashlib.sha256(self.case.positions.tobytes()).hexdigest()
            return {name: facts[name] for name in names} | {"images": images}
        if kind == "unlearned":
            names += ["method", "epochs", "seed"]
            names += ["learning_rate"] * ("learning_rate" in facts)
            names += ["stop_at_budget", "utility_budget"] * ("stop_at_budget" in facts)
        return {name: facts[name] for name in names}


def train_model(model: GenerativeModel, images: Examples, training: Training, seed: int) -> Params:
    """Trains a model with Adam, as a request says that its checkpoint was trained.

    Args:
        model: The model.
        images: All of them are visited.
        training: With epochs; its function is not called.
        seed: Of initialization and order.

    Returns:
        The parameters.
    """
    method = Retrain(training.learning_rate, training.batch_size)
    like = model.init(jax.random.key(seed))
    return alone(model, like, images, method, seed, training.epochs).params


def alone(
    model: GenerativeModel,
    params: Params,
    images: Examples,
    method: Method,
    seed: int,
    epochs: int,
) -> UnlearningResult:
    """Runs a method that visits retained images alone, on all of them."""
    nothing = np.zeros_like(images[:1])
    return unlearn(
        model, params, nothing, images, method=method, key=jax.random.key(seed), epochs=epochs
    )


def tune(model: GenerativeModel, params: Params, retain: Examples) -> UnlearningResult:
    """Trains one more epoch on the retained images."""
    return alone(model, params, retain, FineTune(learning_rate=1e-3), 0, 1)


def relearn(model: GenerativeModel, params: Params, images: Examples, steps: int) -> np.ndarray:
    """The losses of so many steps on the forgotten images, `[steps]`."""
    method = FineTune(learning_rate=1e-3, batch_size=len(images))
    return alone(model, params, images, method, 1, steps).history["retain_loss"]
