"""Lines that hold the released model, or the method, against retrained models."""

from collections.abc import Callable

import numpy as np

from gsu_jax.audit import (
    Line,
    difference_power,
    equivalence_line,
    judge,
    position_line,
    relative_test,
    relearning_cost,
)
from gsu_jax.metrics import position, residual_share
from gsu_jax.removal.service._models import relearn
from gsu_jax.removal.service._subject import Figure, NotApplicable, Said, Subject

SEEDS = "base seeds"
MARGIN = 1.5  # deviations of a retrained model that do not matter
RELEARNING_STEPS, FEATURES = 60, 500


def against(
    name: str, value: float, retrained: np.ndarray, *, effect: float, random: str, side: int,
    least: float = 0.0,
) -> Line:  # fmt: skip
    """One model against retrained ones: two-sided, or FAILED only above them (`side` 1)."""
    effect = max(effect, 1e-9)
    if not side:
        return position_line(name, value, retrained, effect=effect, random=random)
    where = position(value, retrained)
    found = bool(not where.inside and where.z > 0 and value - retrained.mean() > least)
    z = float(np.clip(where.z, -1e6, 1e6))
    power = difference_power(min(effect, 1e6), 1, len(retrained))
    return judge(
        name, z, passed=not found, found=found, n=len(retrained), power=power, random=random
    )


def effect_of(figure: Figure) -> float:
    """The shift of the original models, in deviations of the retrained ones.

    So a line that PASSED would have seen a model that forgot nothing. `equivalence` asks for more.
    """
    deviation = figure.retrained.std(ddof=1)
    shift = abs(figure.original.mean() - figure.retrained.mean())
    return float(min(shift / deviation if deviation else 1e6 * (shift > 0), 1e6))


FIGURES = {  # line -> figure of the subject, side
    "V2 share, retrained": ("seen_share", 1),
    "V3 evidence": ("described", 0),
    "V4 rows": ("rows_outside", 1),
    "V5 set": ("known_set", 0),
    "V10 recovery": ("recovered", 0),
    "V6 membership": ("member_auc", 0),
    "V11 further training": ("share_after_training", 1),
}


def held_against(name: str) -> Callable[[Subject], Said]:
    """The test of a line of `FIGURES`."""
    attribute, side = FIGURES[name]

    def run(subject: Subject) -> Said:
        figure = getattr(subject, attribute)
        line = against(
            name, figure.released, figure.retrained, effect=effect_of(figure), random=SEEDS,
            side=side, least=3.7 / subject.samples,
        )  # fmt: skip
        mean, spread = figure.retrained.mean(), figure.retrained.std(ddof=1)
        return line, (
            f"{figure.released:.4g}; retrained {round(mean, 9):.4g} +- {spread:.2g}, original "
            f"{figure.original.mean():.4g}"
        )

    return run


def equivalence(subject: Subject) -> Said:
    """The method on originals of other seeds against retraining, and the residual share rho."""
    n = len(subject.forgotten)
    means = {kind: values[:, :n].mean(1) for kind, values in subject.phi.items()}
    line = equivalence_line(
        "V3 equivalence", means["unlearned"], means["retrained"], margin=MARGIN, random=SEEDS
    )
    rho = residual_share(means["unlearned"], means["original"], means["retrained"])
    return line, (
        f"difference {line.statistic:+.2f} deviations, margin {MARGIN}; rho {rho.rho:.2f} "
        f"[{rho.low:.2f}, {rho.high:.2f}] of the gap is left"
    )


def relearning(subject: Subject) -> Said:
    """How soon the method's models learn the images again, against retrained ones."""
    images, ensemble = subject.forgotten[:64], subject.ensemble
    curves = {
        kind: np.stack([relearn(subject.model, p, images, RELEARNING_STEPS) for p in models])
        for kind, models in ensemble._asdict().items()
        if kind != "fine_tuned"
    }
    known, unknown = (curves[kind][:, 0].mean() for kind in ("original", "retrained"))
    if known >= unknown:
        raise NotApplicable("the originals do not know the images better than retrained models")
    level = known + 0.05 * (unknown - known)
    found = relearning_cost(curves["unlearned"], curves["retrained"], level)
    apart = found.low > 0.4 or found.high < -0.4
    line = judge(
        "V11 relearning", found.log_ratio, passed=found.p < 0.05 and not apart, found=apart,
        n=len(ensemble.retrained), power=found.power, random=SEEDS,
    )  # fmt: skip
    numbers = f"{found.log_ratio:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    return line, f"ln AIN {numbers}, margin 0.4; never there: {sum(found.unreached)} curves"


def relative(subject: Subject) -> Said:
    """Whether samples of the method's models are nearer to retraining than to the originals."""
    model, judged = subject.model, subject.judge
    groups = {
        kind: np.stack([judged.features(model, params, FEATURES) for params in models])
        for kind, models in subject.ensemble._asdict().items()
        if kind != "fine_tuned"
    }
    retrained, half = groups["retrained"], len(groups["retrained"]) // 2
    found = relative_test(groups["unlearned"], retrained, groups["original"])
    honest = half > 1 and relative_test(retrained[:half], retrained[half:], groups["original"])
    power = 1.0 if honest and honest.p < 0.05 else 0.5
    line = judge(
        "V14 relative", found.difference, passed=found.p < 0.05, found=found.p > 0.95,
        n=len(retrained), power=power, random=SEEDS,
    )  # fmt: skip
    return (
        line,
        f"MMD^2 to retraining less that to the original {found.difference:+.4f}, p {found.p:.3f}",
    )
