"""Lines that hold the method, run on originals of other seeds, against retrained models."""

from gsu_jax.audit import (
    equivalence_line,
    judge,
    relative_test,
    relearning_cost,
)
from gsu_jax.metrics import residual_share
from gsu_jax.removal.service._held_against import SEEDS
from gsu_jax.removal.service._measures import NotApplicable, Said
from gsu_jax.removal.service._models import relearn
from gsu_jax.removal.service._subject import Subject

MARGIN = 1.5  # deviations of a retrained model that do not matter
STEPS, FEATURES = 60, 500
COMPARED = ("retrained", "original", "unlearned")


def equivalence(subject: Subject) -> Said:
    """The method on originals of other seeds against retraining, and the residual share rho."""
    n = len(subject.forgotten)
    means = {kind: values[:, :n].mean(1) for kind, values in subject.phi.items()}
    line = equivalence_line(
        "V3 equivalence", means["unlearned"], means["retrained"], margin=MARGIN, random=SEEDS,
        level=subject.level,
    )  # fmt: skip
    rho = residual_share(means["unlearned"], means["original"], means["retrained"])
    return line, (
        f"difference {line.statistic:+.2f} deviations, margin {MARGIN}; rho {rho.rho:.2f} "
        f"[{rho.low:.2f}, {rho.high:.2f}] of the gap is left"
    )


def relearning(subject: Subject) -> Said:
    """How soon the method's models learn the images again, against retrained ones."""
    images, model = subject.forgotten[:64], subject.model
    curves = {
        kind: subject.each("relearning", kind, lambda p: relearn(model, p, images, STEPS))
        for kind in COMPARED
    }
    known, unknown = (curves[kind][:, 0].mean() for kind in ("original", "retrained"))
    if known >= unknown:
        raise NotApplicable("the originals do not know the images better than retrained models")
    level = known + 0.05 * (unknown - known)
    found = relearning_cost(curves["unlearned"], curves["retrained"], level)
    equal = found.p < 0.05
    line = judge(
        "V11 relearning", found.log_ratio, passed=equal,
        found=not equal and found.p_difference < 1 - subject.level, n=subject.models,
        power=found.power, random=SEEDS, must_show=False,
    )  # fmt: skip
    numbers = f"{found.log_ratio:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    return line, f"ln AIN {numbers}, margin 0.4; never there: {sum(found.unreached)} curves"


def relative(subject: Subject) -> Said:
    """Whether samples of the method's models are nearer to retraining than to the originals."""
    model, judged = subject.model, subject.judge
    groups = {
        kind: subject.each("features", kind, lambda p: judged.features(model, p, FEATURES))
        for kind in COMPARED
    }
    retrained, half = groups["retrained"], len(groups["retrained"]) // 2
    found = relative_test(groups["unlearned"], retrained, groups["original"])
    honest = half > 1 and relative_test(retrained[:half], retrained[half:], groups["original"])
    power = 1.0 if honest and honest.p < 0.05 else 0.5
    line = judge(
        "V14 relative", found.difference, passed=found.p < 0.05, found=found.p > subject.level,
        n=len(retrained), power=power, random=SEEDS, must_show=False,
    )  # fmt: skip
    return (
        line,
        f"MMD^2 to retraining less that to the original {found.difference:+.4f}, p {found.p:.3f}",
    )
