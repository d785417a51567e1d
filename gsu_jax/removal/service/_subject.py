"""`Subject`: everything that the lines of a verification look at, measured when it is needed."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import numpy as np

from gsu_jax.audit import (
    attack_rates,
    bavaria,
    half_splits,
    recover_latents,
    set_attack,
)
from gsu_jax.metrics import Count, image_residuals, prediction_interval
from gsu_jax.models import Params
from gsu_jax.removal.service._case import Case
from gsu_jax.removal.service._measures import (
    SCORED,
    Figure,
    Judge,
    NotApplicable,
    Utility,
    evidence,
    judge_network,
    most_share,
    noise,
    utility,
)
from gsu_jax.removal.service._models import KNOWN, Ensemble, SharedModels, Trained, tune

IMAGES = 128  # of the forgotten and of the held-out ones
RECOVERED = 64
POPULATION = 64  # images of other kinds that no model was trained with


class Subject:
    """The two checkpoints of a case, and models to compare with.

    Args:
        case: That was run.
        samples: Of a model, for shares and copies.
        models: Of each kind; 0 trains none.
        shadows: Shadow models; 0 trains none.
        level: Of each line that is held against retrained models.
        shared: The models of other cases of the same images, if there are any.
    """

    def __init__(
        self,
        case: Case,
        samples: int,
        models: int,
        shadows: int = 0,
        *,
        level: float = 0.95,
        shared: SharedModels | None = None,
    ):
        self.case, self.model, self.samples, self.models = case, case.model, samples, models
        self.shadows, self.level = shadows, level
        facts, weights = case.facts, case.checkpoint
        self.before = case.load(case.base, facts["base"], "the one that was deployed")
        self.after = case.load(case.published, weights, "the one that was published")
        self.trained = Trained(case, self.before, shared)
        self._kept = shared.kept if shared else {}
        rng, split, source = np.random.default_rng(0), case.split, case.source
        like, held_out = split.test.mask, split.test.dataset
        if case.target is None:  # held-out images with the labels of the list
            labels = np.unique(split.train.forget.attributes[source.label])
            like = np.isin(held_out.attributes[source.label], labels)

        def some(images: np.ndarray, most: int) -> np.ndarray:
            return images[np.sort(rng.permutation(len(images))[:most])]

        self.forgotten = some(split.train.forget.images, IMAGES)
        self.like = some(held_out.images[like], IMAGES)
        self.unlike = some(held_out.images[~like], POPULATION)

    @cached_property
    def utility(self) -> Utility:
        """On held-out retained images."""
        return utility(self.model, self.before, self.after, self.case.split.test.retain.images)

    @cached_property
    def judge(self) -> Judge:
        """Of the attribute that is forgotten."""
        case = self.case
        if case.target is None:
            raise NotApplicable("a list of images is no class that a judge could see")
        attribute, classes = case.target
        network = judge_network(case.source, attribute)
        like = jax.eval_shape(network.init, jax.random.key(0))
        params = self.trained.judge(attribute, like)
        bare = Judge(network, params, classes, None)
        judge = bare.with_errors(case.split.test.dataset, case.split.test.mask)
        if judge.errors is None:
            raise NotApplicable("the held-out images do not show both what goes and what stays")
        hits, alarms = (found / n for found, n in judge.errors)
        if hits <= alarms:
            raise NotApplicable("the judge does not find the class on held-out images")
        return judge

    def share(self, params: Params) -> Count:
        """How many samples of a model show the class."""
        return self.judge.hits(self.model, params, self.samples)

    @cached_property
    def shares(self) -> tuple[Count, Count]:
        """Of the checkpoint before, and of the new one."""
        return self.share(self.before), self.share(self.after)

    @cached_property
    def ensemble(self) -> Ensemble:
        """Models to compare with."""
        return self.trained.ensemble(self.models)

    def each(self, name: str, kind: str, measure: Callable[[Params], Any]) -> np.ndarray:
        """What a measure says of each model of a kind; of shared models it is kept."""
        key = (name, kind, self.models, self.samples)
        if key not in self._kept or kind not in KNOWN:
            models = getattr(self.ensemble, kind)
            self._kept[key] = np.stack([np.asarray(measure(params)) for params in models])
        return self._kept[key]

    def figure(self, name: str, measure: Callable[[Params], float]) -> Figure:
        """A figure that is measured of each model by itself."""
        groups = (self.each(name, kind, measure) for kind in KNOWN)
        return Figure(measure(self.after), *groups)

    @cached_property
    def phi(self) -> dict[str, np.ndarray]:
        """Evidence `[models, images]` of forgotten images, held-out ones like them, and others."""
        images = np.concatenate([self.forgotten, self.like, self.unlike])

        def phi(params: Params) -> np.ndarray:
            return evidence(self.model, params, images)

        own = {"released": phi(self.after)[None], "before": phi(self.before)[None]}
        return own | {kind: self.each("phi", kind, phi) for kind in Ensemble._fields}

    # Shadow models

    @cached_property
    def candidates(self) -> np.ndarray:
        """Forgotten images, then held-out ones of the kind: each is in half of the shadows."""
        if len(self.like) < 2:
            raise NotApplicable("the data has no held-out images of the kind")
        return np.concatenate([self.forgotten, self.like])

    @cached_property
    def members(self) -> np.ndarray:
        """`[shadows, candidates]`, whether a shadow was trained with an image."""
        return half_splits(self.shadows, len(self.candidates))

    @cached_property
    def shadow_scores(self) -> np.ndarray:
        """Evidence `[shadows, images]` of the candidates, then of the population."""
        key = ("phi", "shadow", self.shadows, 0)
        if key not in self._kept:
            images = np.concatenate([self.candidates, self.unlike])
            models = self.trained.shadows(self.candidates, self.members)
            self._kept[key] = np.stack([evidence(self.model, each, images) for each in models])
        return self._kept[key]

    @cached_property
    def member_scores(self) -> dict[str, np.ndarray]:
        """Scores `[models, candidates]` of the attack; larger means a member."""
        shadows, members = self.shadow_scores[:, : len(self.candidates)], self.members
        try:
            return {
                kind: bavaria(self.phi[kind][:, : len(self.candidates)], shadows, members)
                for kind in ("released", *KNOWN)
            }
        except ValueError as error:
            raise NotApplicable(str(error)) from error

    @cached_property
    def member_auc(self) -> Figure:
        """How well the attack tells forgotten images from held-out ones."""
        n = len(self.forgotten)
        found = {
            kind: np.array([attack_rates(one[:n], one[n:]).auc.value for one in scores])
            for kind, scores in self.member_scores.items()
        }
        groups = (found[kind] for kind in KNOWN)
        return Figure(float(found["released"][0]), *groups)

    def of_phi(self, measure: Callable[[np.ndarray, np.ndarray], float]) -> Figure:
        """A figure of phi against that of the retrained models; of these, against the others."""
        phi = self.phi
        retrained = phi["retrained"]
        others = [measure(one, np.delete(retrained, i, axis=0)) for i, one in enumerate(retrained)]
        return Figure(
            measure(phi["released"][0], retrained),
            np.array(others),
            *(
                np.array([measure(one, retrained) for one in phi[kind]])
                for kind in ("original", "fine_tuned")
            ),
        )

    @cached_property
    def share_if_retrained(self) -> float:
        """The most that one more retrained model may be said to draw, as `most_share` says it."""
        errors = self.judge.errors
        assert errors is not None
        counts = self.each("samples seen", "retrained", self.share)
        most = [most_share(Count(*map(int, count)), errors) for count in counts]
        return float(np.exp(prediction_interval(np.log(most), self.level).high))

    # The figures of lines that hold one model against retrained ones

    @cached_property
    def seen_share(self) -> Figure:
        """Share of samples that show the class by the judge's probabilities, as its logarithm.

        Retrained models draw none or a few: counts of them are 0 and an outlier, for which no
        interval holds. The logarithm of the mean probability is about normal over seeds.
        """
        return self.figure("share", self._log_share)

    def _log_share(self, params: Params) -> float:
        return self.judge.log_share(self.model, params, self.samples)

    @cached_property
    def share_after_training(self) -> Figure:
        """The same after one more epoch on retained images."""

        def measure(params: Params) -> float:
            tuned = tune(self.model, params, self.case.split.train.retain.images).params
            return self._log_share(tuned)

        group = self.each("share after training", "retrained", measure)
        originals = self.seen_share.fine_tuned
        return Figure(measure(self.after), group, originals, originals)

    @cached_property
    def described(self) -> Figure:
        """Mean phi of forgotten images, in nats."""
        n = len(self.forgotten)
        return self.of_phi(lambda phi, _: float(phi[:n].mean()))

    @cached_property
    def rows_outside(self) -> Figure:
        """Share of forgotten images whose residual is outside the limit, as its log odds."""
        n = len(self.forgotten)

        def odds(phi: np.ndarray, others: np.ndarray) -> float:
            outside = n * image_residuals(phi[:n], others[:, :n]).outside
            return math.log((outside + 0.5) / (n - outside + 0.5))

        return self.of_phi(odds)

    @cached_property
    def unseen(self) -> Figure:
        """Mean phi of half of some images that no model was trained on, less that of the others.

        Of the kind for a list of images, others for a class. Nothing can be found here.
        """
        n, m = len(self.forgotten), len(self.like)
        start, end = (n, n + m) if self.case.target is None else (n + m, n + m + len(self.unlike))
        middle = (start + end) // 2
        if middle == start:
            raise NotApplicable("the data has no held-out images that no model knows")
        return self.of_phi(lambda phi, _: float(phi[start:middle].mean() - phi[middle:end].mean()))

    @cached_property
    def known_set(self) -> Figure:
        """T of the set attack: how much better forgotten images are known than held-out ones."""
        if len(self.like) < 2:
            raise NotApplicable("the data has no held-out images of the kind")
        both = len(self.forgotten) + len(self.like)
        in_set = np.arange(both) < len(self.forgotten)
        phi = {kind: values[:, :both] for kind, values in self.phi.items()}
        found = {
            kind: set_attack(phi[kind], phi["retrained"], in_set)
            for kind in ("released", "original", "fine_tuned")
        }
        values = [np.asarray(each.statistic) for each in found.values()]
        return Figure(float(values[0][0]), found["released"].reference, values[1], values[2])

    @cached_property
    def recovered(self) -> Figure:
        """Mean loss of the best latents of forgotten images, in nats."""
        if not self.model.has(*SCORED):
            raise NotApplicable("the model has no decoder")
        images = self.forgotten[:RECOVERED]

        def loss(params: Params) -> float:
            found = recover_latents(self.model, params, images, noise(), steps=100)
            return float(found.loss.mean())

        return self.figure("recovery", loss)
