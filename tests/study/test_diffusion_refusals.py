"""Bad input for diffusion models ends in one message before anything is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study

from gsu_jax import SISS, EraseDiff, RedirectDiffusion, ReTrack, unlearn
from gsu_jax.data import ImageSet
from gsu_jax.methods.ingredients import certify, kernel_guide, train_noise_guide
from gsu_jax.models import (
    DiffusionConfig,
    MLPDiffusionConfig,
    MLPVAEConfig,
    TransformerDiffusionConfig,
)
from gsu_jax.models.diffusion import ancestral, noise_levels
from gsu_jax.networks import generator, use_principal_components

KEY, IMAGES = jax.random.key(0), jnp.full((4, 8, 8, 1), 0.5)
SMALL = MLPDiffusionConfig((8, 8, 1), coordinates=8, width=8, depth=1, sampler_steps=2)
VAE = MLPVAEConfig(image_shape=(8, 8, 1), widths=(8,), latent_size=2)


PATCHES = TransformerDiffusionConfig((8, 8, 1), patch=4, width=8, depth=1, heads=1)


def certify_nothing(**changes):
    sets = ImageSet.of(IMAGES), ImageSet.of(IMAGES)
    options = {"window": (-4.0, 6.0)} | changes
    return certify(lambda z, _: z, lambda z, _: z[:, 0, 0, 0], *sets, 1.0, KEY, **options)


def kernels_of(**changes):
    return kernel_guide(ImageSet.of(IMAGES), ImageSet.of(IMAGES), 1.0, KEY, **changes)


def forget_all(forget, retain, method="redirect_diffusion", model=SMALL):
    model = generator(model)
    return unlearn(model, model.init(KEY), forget, retain, method=method, key=KEY)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: DiffusionConfig(gamma_min=9.0, gamma_max=-9.0), "gamma_min must be below.*swap"),
        (lambda: TransformerDiffusionConfig((28, 28, 1), patch=5), "patch must divide.*patch=5"),
        (lambda: MLPDiffusionConfig(sampler_steps=0), "sampler_steps must be at least 1, got 0"),
        (lambda: noise_levels(9.0, -9.0, 0), "steps must be at least 1, got 0"),
        (lambda: DiffusionConfig(sigmoid_bias=float("nan")), "sigmoid_bias must be finite.* nan"),
        (lambda: ancestral(lambda z, _: z, IMAGES, np.array([-1, 2]), KEY), "gammas must fall"),
        (lambda: RedirectDiffusion(window=(4.0, -2.0)), r"window must be .*got \(4.0, -2.0\)"),
        (lambda: RedirectDiffusion(window=None), "window must be .*got None"),
        (lambda: RedirectDiffusion(window=(-np.inf, 7.0)), "window must be .*got .*inf"),
        (lambda: RedirectDiffusion(margin=float("nan")), "margin must be finite, got nan"),
        (lambda: SISS(mixture=0.0), r"mixture must be in \(0, 1\), got 0.0"),
        (lambda: certify_nothing(window=(6.0, -4.0)), "window must be .*got"),
        (lambda: certify_nothing(bins=0), "bins must be at least 1"),
        (lambda: kernels_of(bandwidth=0.0), "bandwidth must be above 0"),
        (
            lambda: use_principal_components(generator(PATCHES).init(KEY), IMAGES),
            "params must be those of mlp_diffusion",
        ),
        (lambda: forget_all(IMAGES[:0], IMAGES), "forget is empty"),
        (lambda: forget_all(IMAGES, IMAGES[:0]), "retain is empty"),
        (
            lambda: train_noise_guide(
                lambda z, gamma: z, ImageSet.of(IMAGES), ImageSet(IMAGES, 0, 0), 1.0, KEY,
                window=(-2.0, 4.0),
            ),
            "retain must hold at least one image.*one class",
        ),
        (
            lambda: forget_all(IMAGES, IMAGES, method="redirect_flow"),
            "redirect_flow needs a model with encode.*no encode.*can work on it.*siss",
        ),
        (
            lambda: forget_all(IMAGES, IMAGES, model=VAE),
            "redirect_diffusion needs a model with denoise.*can work on it.*redirect_flow",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(act, words):
    with pytest.raises(ValueError, match=words):
        act()


@pytest.mark.parametrize(
    "act",
    [
        lambda: RedirectDiffusion(draws=1.5),
        lambda: RedirectDiffusion(guide_steps=20.0),
        lambda: ReTrack(neighbors=1.5),
        lambda: EraseDiff(inner_steps=0.5),
        lambda: noise_levels(9.0, -9.0, 2.5),
    ],
)
def test_numbers_of_things_are_integers(act):
    with pytest.raises(TypeError, match="must be an integer, got"):
        act()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": TransformerDiffusionConfig(patch=7)}, r"patch=7.*\(8, 8, 1\).*2, 4, 8 would"),
        ({"model": SMALL, "methods": ("redirect_flow",)}, "redirect_flow needs.*encode"),
        ({"methods": ("redirect_diffusion",)}, "redirect_diffusion needs.*denoise"),
        ({"model": SMALL, "forget": "0,1,2,3,4,5,6,7,8,9"}, "retain|every|all"),
    ],
)
def test_study_refuses_before_anything_is_trained(tmp_path, no_work, changes, words):
    with pytest.raises(ValueError, match=words) as refusal:
        tiny_study.run_tiny(tmp_path / "out", **changes)
    assert str(refusal.value).count("\n") == 0
    assert not list((tmp_path / "out").rglob("checkpoints/*"))
