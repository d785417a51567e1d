"""Settings that no network can have are refused by name and value."""

import pytest

from gsu_jax.models import (
    AllCNNConfig,
    ConvVAEConfig,
    MLPClassifierConfig,
    MLPVAEConfig,
    ResNetConfig,
)


@pytest.mark.parametrize("config", [MLPVAEConfig, ConvVAEConfig])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (64, 64)}, r"image_shape.*got \(64, 64\)"),
        ({"image_shape": (64, 0, 1)}, r"image_shape.*got \(64, 0, 1\)"),
        ({"widths": ()}, r"widths.*got \(\)"),
        ({"latent_size": 0}, "latent_size.*got 0"),
        ({"beta": -1.0}, "beta.*got -1.0"),
        ({"variance": 0.0}, "variance.*got 0.0"),
        ({"likelihood": "poisson"}, "likelihood.*got 'poisson'"),
        ({"dtype": "float8"}, "dtype.*got 'float8'"),
    ],
)
def test_vae_config_refuses(config, settings, message):
    with pytest.raises(ValueError, match=message):
        config(**settings)


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (AllCNNConfig, {"classes": 1}, "classes.*got 1"),
        (AllCNNConfig, {"widths": (0, 4)}, r"widths.*got \(0, 4\)"),
        (AllCNNConfig, {"widths": (8,)}, r"widths must be two sizes.*got \(8,\)"),
        (AllCNNConfig, {"widths": (8, 8, 8)}, r"widths must be two sizes.*got \(8, 8, 8\)"),
        (AllCNNConfig, {"dropout": 1.0}, "dropout.*got 1.0"),
        (MLPClassifierConfig, {"classes": 1}, "classes.*got 1"),
        (MLPClassifierConfig, {"image_shape": (8, 8)}, "image_shape.*8, 8"),
        (ResNetConfig, {"width": 0}, "width.*got 0"),
        (ResNetConfig, {"halvings": -1}, "halvings.*got -1"),
        (ResNetConfig, {"dropout": -0.5}, "dropout.*got -0.5"),
    ],
)
def test_classifier_config_refuses(config, settings, message):
    with pytest.raises(ValueError, match=message):
        config(**settings)


@pytest.mark.parametrize("config", [AllCNNConfig, MLPVAEConfig, ConvVAEConfig])
@pytest.mark.parametrize(
    ("widths", "got"),
    [(8, "got 8"), ("88", "got '88'"), ((8.5, 8), "got 8.5"), ((8, None), "got None")],
)
def test_widths_are_integers_in_a_tuple(config, widths, got):
    with pytest.raises(TypeError, match=f"widths must be.*{got}"):
        config(widths=widths)


def test_sizes_given_as_a_list_become_a_tuple():
    config = MLPVAEConfig(image_shape=[8, 8, 1], widths=[16])
    assert config == MLPVAEConfig(image_shape=(8, 8, 1), widths=(16,))
    assert hash(config) == hash(MLPVAEConfig(image_shape=(8, 8, 1), widths=(16,)))
