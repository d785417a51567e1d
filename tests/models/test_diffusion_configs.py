"""Settings that no diffusion model can have are refused by name and value."""

from dataclasses import replace

import pytest

from gsu_jax.models import MLPDiffusionConfig, TransformerDiffusionConfig


@pytest.mark.parametrize("config", [MLPDiffusionConfig, TransformerDiffusionConfig])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (28, 28)}, r"image_shape.*got \(28, 28\)"),
        ({"gamma_min": 5.0, "gamma_max": -5.0}, "gamma_min.*below.*5.0.*-5.0.*swap"),
        ({"gamma_min": 9.0}, "gamma_min.*below gamma_max.*gamma_min=9.0"),
        ({"gamma_max": float("nan")}, "gamma_max.*got nan"),
        ({"schedule": "cosine"}, "schedule.*got 'cosine'"),
        ({"shape": "cosine"}, "shape.*got 'cosine'"),
        ({"weighting": "snr"}, "weighting.*got 'snr'"),
        ({"schedule": "learned"}, "schedule.*'vlb'.*weighting='sigmoid'"),
        ({"data_deviation": 0.0}, "data_deviation.*got 0.0"),
        ({"sampler": "euler"}, "sampler.*got 'euler'"),
        ({"sampler_steps": 0}, "sampler_steps.*at least 1, got 0"),
        ({"bound_times": 0}, "bound_times.*at least 1, got 0"),
        ({"width": 0}, "width.*at least 1, got 0"),
        ({"depth": -1}, "depth.*at least 1, got -1"),
        ({"dtype": "float16"}, "dtype.*got 'float16'"),
    ],
)
def test_diffusion_config_refuses(config, settings, message):
    with pytest.raises(ValueError, match=message):
        config(**settings)


def test_basis_is_one_of_two():
    with pytest.raises(ValueError, match=r"basis.*got 'wavelet'"):
        MLPDiffusionConfig(basis="wavelet")


def test_sizes_are_integers():
    with pytest.raises(TypeError, match=r"sampler_steps must be an integer, got 2\.5"):
        MLPDiffusionConfig(sampler_steps=2.5)
    with pytest.raises(TypeError, match=r"patch must be an integer, got 3\.5"):
        TransformerDiffusionConfig(patch=3.5)


def test_patch_that_does_not_divide_the_image_is_refused_with_those_that_do():
    config = TransformerDiffusionConfig((28, 28, 1), patch=7)
    with pytest.raises(ValueError, match=r"patch=7.*\(8, 8, 1\); 2, 4, 8 would"):
        replace(config, image_shape=(8, 8, 1))
    with pytest.raises(ValueError, match="width=30 and heads=4"):
        TransformerDiffusionConfig(width=30)
