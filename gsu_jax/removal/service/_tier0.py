"""Lines that need no other model than the two checkpoints."""

import numpy as np

from gsu_jax.audit import (
    attack_power,
    attack_rates,
    chance_above,
    clopper_pearson,
    judge,
    nearest_copies,
    perturb,
    prune,
    quantize,
    weight_leak,
)
from gsu_jax.metrics import Count, corrected_share
from gsu_jax.models import Params
from gsu_jax.removal._digest import data_digest
from gsu_jax.removal.service._listed import is_listed
from gsu_jax.removal.service._measures import (
    NotApplicable,
    Said,
    budget_power,
    chance_to_find,
    most_share,
    noise,
    share_power,
)
from gsu_jax.removal.service._subject import Subject

WEIGHTS = 0.2  # share of the images in the weights that must not go unseen
COPY = 0.75  # deviations of distance that must not go unseen: an AUC of 0.7


def lineage(subject: Subject) -> Said:
    """The digests of the ledger against those of files and data."""
    case = subject.case
    ran = case.last("ran").predicate["buildDefinition"]["resolvedDependencies"]
    named = {each["name"]: each["digest"]["sha256"] for each in ran}
    same = {
        "base": named["base"] == case.facts["base"],
        "data": named["data"] == data_digest(case.source),
        "list": is_listed(case),
    }
    wrong = [name for name, value in same.items() if not value]
    line = judge(
        "V0 lineage", len(wrong), passed=not wrong, found=bool(wrong), n=len(same) + 1, power=1,
        random="nothing",
    )  # fmt: skip
    return line, f"not those of the ledger: {', '.join(wrong)}" if wrong else "all as in the ledger"


def kept_utility(subject: Subject) -> Said:
    """The utility budget once more, by the verifier."""
    found, budget = subject.utility, subject.case.facts["utility_budget"]
    line = judge(
        "V1 utility", found.increase, passed=found.high <= budget, found=found.low > budget,
        n=found.n, power=budget_power(found, budget), random="held-out images",
    )  # fmt: skip
    numbers = f"{found.increase:+.2%} [{found.low:+.2%}, {found.high:+.2%}]"
    return line, f"bound of retained images {numbers}, budget {budget:.2%}"


def drawn_share(subject: Subject) -> Said:
    """The corrected share of samples that show the class."""
    before, after = subject.shares
    return _share_line("V2 share", subject, before, {"": after})


def export(subject: Subject) -> Said:
    """The share after what deployment does to parameters."""
    after = {
        "int8": quantize(subject.after, 8),
        "pruned": prune(subject.after, 0.1),
        "noised": perturb(subject.after, noise(), 0.01),
    }
    counts = {name: subject.share(params) for name, params in after.items()}
    return _share_line("V11 export", subject, subject.shares[0], counts)


def _share_line(name: str, subject: Subject, before: Count, after: dict[str, Count]) -> Said:
    """PASSED if even all alarms of the judge together are below a tenth of the share before.

    A model that never saw a class may draw more than that, of what looks like it. So a class, other
    than a concept, may have as much as retrained models draw. Where there are none, more than a
    tenth is NOT DETECTABLE, unless nothing was shown to be gone.
    """
    errors = subject.judge.errors
    assert errors is not None
    share = corrected_share(before, errors)
    if not share.share:
        raise NotApplicable("the judge sees no sample of the class even before unlearning")
    goal, source, known = share.share / 10, "a tenth of before", True
    if subject.case.facts["claim"] == "class":
        known = subject.models > 0
        if known and subject.share_if_retrained > goal:
            goal, source = subject.share_if_retrained, "what retrained models draw"
    shares = {what: corrected_share(count, errors) for what, count in after.items()}
    highest = {what: most_share(count, errors) for what, count in after.items()}
    worst = max(shares, key=lambda what: highest[what])
    power = share_power(after[worst], errors, goal)
    if goal >= share.low:  # few retrained models, or a wide spread: what forgot nothing would pass
        power = 0.0
    low = max(each.low for each in shares.values())
    high = max(each.high for each in shares.values())
    line = judge(
        name, shares[worst].share, passed=highest[worst] <= goal, found=known and low > goal,
        n=before.n, power=power, random="samples", must_show=known or high >= share.low,
    )  # fmt: skip
    numbers = ", ".join(
        f"{what} {share.share:.2%}, at most {highest[what]:.2%}".strip()
        for what, share in shares.items()
    )
    return line, f"{numbers} of samples; goal {goal:.2%}, {source}"


def copies(subject: Subject) -> Said:
    """Whether samples come nearer to forgotten than to held-out images."""
    n, m = len(subject.forgotten), len(subject.like)
    if not m:
        raise NotApplicable("the data has no held-out images of the kind")
    samples = np.asarray(subject.model.sample(subject.after, noise(), subject.samples))
    if not np.isfinite(samples).all():
        raise NotApplicable("the samples are not finite")
    scale = 255 if subject.forgotten.dtype == np.uint8 else 1
    found = nearest_copies(samples, subject.forgotten / scale, subject.like / scale)
    auc = attack_rates(-found.forgotten, -found.held_out).auc
    line = judge(
        "V12 copies", auc.value, passed=auc.low <= 0.5, found=auc.low > 0.5, n=min(n, m),
        power=attack_power(COPY, n, m), random="samples",
    )  # fmt: skip
    return line, f"AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}], p of copies {found.p:.2f}"


def weights(subject: Subject) -> Said:
    """Whether the change of the weights shows the images to who has both versions.

    Two models that were trained apart differ everywhere, and may show images that only one of them
    knew. So at tier 1 more must be seen than in the change to any retrained model.
    """
    if not len(subject.like):
        raise NotApplicable("the data has no held-out images of the kind")
    n, m, shown = len(subject.forgotten), len(subject.like), _shown(subject, subject.after)
    retrained = subject.ensemble.retrained if subject.models else ()
    most = max((_shown(subject, params) / n for params in retrained), default=0.0)

    def leaks(k: int) -> bool:
        return weights_show(k, n, m) and (not retrained or clopper_pearson(k, n).low > most)

    line = judge(
        "V13 weights", shown / n, passed=not leaks(shown), found=leaks(shown), n=min(n, m),
        power=chance_to_find(n, WEIGHTS, leaks), random="held-out images",
    )  # fmt: skip
    numbers = f"{shown} of {n} images above all {m} held-out ones"
    return line, f"{numbers}; retrained models at most {most:.1%}" if retrained else numbers


def weights_show(k: int, n: int, m: int) -> bool:
    """Whether k of n forgotten images above all of m held-out ones are more than chance."""
    return chance_above(k, n, m) < 0.025


def _shown(subject: Subject, after: Params) -> int:
    """How many forgotten images the change to these weights shows."""
    groups = (np.float64(images) for images in (subject.forgotten, subject.like))
    try:
        return weight_leak(subject.before, after, *groups).shown
    except ValueError as error:
        raise NotApplicable(str(error)) from error
