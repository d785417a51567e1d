"""Networks and recipes that are chosen for images of one's own."""

import numpy as np
import pytest

from gsu_jax.data import Dataset, Source
from gsu_jax.models import AllCNNConfig, ConvVAEConfig, MLPVAEConfig, ResNetConfig
from gsu_jax.networks import generator
from gsu_jax.study import choose_config


def source(shape, n=100, classes=("cat", "dog"), fill=0):
    images = np.full((n, *shape), fill, np.uint8)
    numbers = np.arange(n) % len(classes)
    dataset = Dataset(images, {"pet": numbers}, np.array([f"{i}.png" for i in range(n)]))
    return Source("pets", dataset, dataset.take(np.arange(20)), {"pet": classes}, "pet")


@pytest.mark.parametrize(
    ("shape", "model", "judge", "halvings"),
    [
        ((8, 8, 1), MLPVAEConfig, AllCNNConfig, None),
        ((28, 28, 1), MLPVAEConfig, AllCNNConfig, None),
        ((28, 28, 3), ConvVAEConfig, ResNetConfig, 2),
        ((32, 32, 1), ConvVAEConfig, ResNetConfig, 3),
        ((64, 64, 3), ConvVAEConfig, ResNetConfig, 4),
        ((24, 48, 3), ConvVAEConfig, ResNetConfig, 2),
    ],
    ids=str,
)
def test_networks_fit_the_images(shape, model, judge, halvings):
    config = choose_config(source(shape), "cat")
    assert (type(config.model), type(config.judge)) == (model, judge)
    assert config.model.image_shape == shape
    if halvings:
        assert len(config.model.widths) == halvings
        assert min(config.model.inner_shape[:2]) >= 4
    assert generator(config.model) is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (source((15, 15, 3)), "15x15.*image_size=16"),
        (source((100, 100, 3)), "100x100.*image_size=64"),
        (source((8, 8, 2)), "channels.*got 2"),
        (source((8, 8, 1), classes=("cat",)), "one class, 'cat'"),
    ],
)
def test_images_that_fit_no_network_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        choose_config(given, "files:1.png")


def test_an_unlearning_run_has_at_least_fifty_steps():
    few, many = choose_config(source((8, 8, 1)), "files:1.png"), source((8, 8, 1), n=40_000)
    assert few.epochs == 50
    assert few.judge_gate == 0.5
    assert choose_config(source((8, 8, 1), n=400), "cat").epochs == 25  # 200 images: two steps
    many = choose_config(many, "cat")
    assert many.epochs == 1
    assert many.pretraining.steps_per_epoch(40_000) * many.pretraining.epochs >= 4000


def test_a_smoke_test_trains_two_epochs():
    config = choose_config(source((8, 8, 1)), "cat", quick=True)
    assert (config.pretraining.epochs, config.judging.epochs, config.judge_gate) == (2, 2, 0)
