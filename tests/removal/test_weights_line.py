"""V13: whether the difference of two versions of the weights shows the forgotten images."""

from types import SimpleNamespace

import numpy as np
import pytest

from gsu_jax.audit import Verdict
from gsu_jax.removal.service._tier0 import weights

PIXELS, FORGOTTEN = 400, 100


def subject(seed=0, *, shows, retrained=()):
    """Two versions whose difference shows so many images, and retrained models that show others."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(FORGOTTEN, PIXELS))
    base = {"kernel": rng.normal(size=(PIXELS, 200))}

    def after(count):
        """Each image in a bias of its own: a direction of the change."""
        return {f"bias {i}": images[i] if i < count else np.zeros(PIXELS) for i in range(60)}

    zero = {f"bias {i}": np.zeros(PIXELS) for i in range(60)}
    return SimpleNamespace(
        before=base | zero,
        after=base | after(shows),
        forgotten=images,
        like=rng.normal(size=(300, PIXELS)),
        models=len(retrained),
        ensemble=SimpleNamespace(retrained=[base | after(count) for count in retrained]),
    )


def test_few_held_out_images_raise_no_false_alarm():
    rng, failed = np.random.default_rng(1), 0
    for _ in range(200):
        images, zero = rng.normal(size=(128, 30)), {"bias": np.zeros(30)}
        line, _ = weights(
            SimpleNamespace(
                before=zero, after={"bias": rng.normal(size=30)}, forgotten=images,
                like=rng.normal(size=(36, 30)), models=0,
            )
        )  # fmt: skip
        failed += line.verdict == Verdict.FAILED
        assert line.power > 0.9
    assert failed <= 11  # 2.5 % of them, and three standard errors


@pytest.mark.parametrize(
    ("shows", "retrained", "verdict"),
    [
        (0, (), Verdict.PASSED),
        (25, (), Verdict.FAILED),  # a fourth of the images
        (0, (0, 0), Verdict.PASSED),
        (25, (0, 0), Verdict.FAILED),
        (25, (0, 25), Verdict.NOT_DETECTABLE),  # a retrained model shows as many
        (60, (0, 20), Verdict.FAILED),
    ],
)
def test_more_images_must_show_than_in_the_change_to_any_retrained_model(shows, retrained, verdict):
    line, said = weights(subject(shows=shows, retrained=retrained))
    assert line.verdict == verdict
    assert line.statistic == pytest.approx(shows / FORGOTTEN, abs=0.06)
    assert said.startswith(f"{round(line.statistic * FORGOTTEN)} of {FORGOTTEN} images above all")
    assert ("retrained models at most" in said) == bool(retrained)
