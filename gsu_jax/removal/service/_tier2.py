"""Lines of attacks with shadow models, for a list of images."""

import numpy as np

from gsu_jax.audit import (
    Attack,
    attack_rates,
    clopper_pearson,
    epsilon_bounds,
    judge,
    lira,
    one_run_epsilon,
    rmia,
)
from gsu_jax.removal.service._held_against import HELD, SEEDS, allowed, limits_of
from gsu_jax.removal.service._measures import Said, chance_to_find
from gsu_jax.removal.service._subject import Subject

EPSILON = 0.5  # that does not matter
SIDE = 0.975  # level of the bound on each side
HONEST = 0.95  # of the intervals of retrained models hold 0.5


def membership(subject: Subject) -> Said:
    """Whether an attack tells the forgotten images from held-out ones, better than it may."""
    figure, n = subject.member_auc, len(subject.forgotten)
    attacks = {
        kind: [attack_rates(one[:n], one[n:]) for one in scores]
        for kind, scores in subject.member_scores.items()
    }
    released, retrained = attacks["released"][0], attacks["retrained"]
    honest = sum(own.auc.low <= 0.5 <= own.auc.high for own in retrained)
    believed = clopper_pearson(honest, len(retrained)).high >= HONEST
    held = HELD["V6 membership"]
    limits = limits_of(figure, held, subject.samples, subject.level)
    power, inside = limits.power if believed else 0.0, limits.hold(figure.released)
    line = judge(
        "V6 membership", figure.released, passed=inside, found=believed and not inside,
        n=len(retrained), power=power, random=SEEDS,
    )  # fmt: skip
    return line, (
        f"AUC {_interval(released)}; {n} images against {len(subject.like)}, "
        f"{len(subject.members)} shadows; retrained {figure.retrained.mean():.3f} +- "
        f"{figure.retrained.std(ddof=1):.2g}, {honest} of {len(retrained)} intervals hold 0.5; "
        f"original {figure.original.mean():.3f}; fails {allowed(limits, held)}{_found(released)}"
        f"{_other_attacks(subject)}"
    )


def _interval(attack: Attack) -> str:
    auc = attack.auc
    return f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"


def _found(attack: Attack) -> str:
    """The share of members found; it needs a hundred others."""
    rate = attack.tpr_1_percent
    if not np.isfinite(rate.value):
        return ""
    return f"; finds {rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}] at 1 % false alarms"


def _other_attacks(subject: Subject) -> str:
    """AUCs that decide nothing: the attack was chosen before."""
    n, images = len(subject.forgotten), len(subject.candidates)
    phi, shadows = subject.phi["released"][0], subject.shadow_scores
    target, scores = phi[:images], shadows[:, :images]
    found = {"LiRA": lira(target, scores, subject.members)}
    if len(phi) > images:
        found["RMIA"] = rmia(target, scores, subject.members, phi[images:], shadows[:, images:])
    return "".join(
        f"; {name} {attack_rates(one[:n], one[n:]).auc.value:.3f}" for name, one in found.items()
    )


def epsilon(subject: Subject) -> Said:
    """A lower bound of epsilon: how often the member of a pair of images is guessed."""
    pairs = min(len(subject.forgotten), len(subject.like))
    n = len(subject.forgotten)
    right = {
        kind: (scores[:, :pairs] > scores[:, n : n + pairs]).sum(axis=1)
        for kind, scores in subject.member_scores.items()
    }
    released = int(right["released"][0])
    bound, own = bound_of_pairs(released, pairs), _bounds(right["retrained"], pairs)
    allowed = max(EPSILON, own.max())
    share = right["original"].mean() / pairs
    power = chance_to_find(
        pairs, max(share, 1 - share), lambda k: bound_of_pairs(max(k, pairs - k), pairs) > allowed
    )
    line = judge(
        "V7 epsilon", bound, passed=bound <= allowed, found=bound > allowed, n=pairs, power=power,
        random="images",
    )  # fmt: skip
    return line, (
        f"epsilon at least {bound:.2f}, {released} of {pairs} pairs guessed; retrained at most "
        f"{own.max():.2f}, original {_bounds(right['original'], pairs).mean():.2f}"
        f"{_of_all_images(subject)}"
    )


def _of_all_images(subject: Subject) -> str:
    """Bounds that decide nothing, where the extra `audit` is installed."""
    scores, n = subject.member_scores["released"][0], len(subject.forgotten)
    if n < 2:
        return ""
    try:
        found = epsilon_bounds(scores[:n], scores[n:])
    except ImportError:
        return ""
    return (
        f"; by jax-privacy, of all images, at delta 1e-5: at least {found.clopper_pearson:.2f} by "
        f"Clopper-Pearson, {found.one_run:.2f} as one run"
    )


def bound_of_pairs(right: int, pairs: int) -> float:
    """The larger bound of guessing the larger score, and of guessing the smaller one."""
    return max(one_run_epsilon(k, pairs, SIDE) for k in (right, pairs - right))


def _bounds(right: np.ndarray, pairs: int) -> np.ndarray:
    return np.array([bound_of_pairs(int(k), pairs) for k in right])
