"""The judge of faces: what it computes, what it sees in training, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gsu_jax.models import ResNetConfig
from gsu_jax.networks import classifier, resnet18
from gsu_jax.networks._resnet import _Block, augment

CONFIG = ResNetConfig(classes=2, width=2, shift=1)
KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).random((3, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    # Not resnet18.init: to compile the draws of twenty layers takes longer than this whole file.
    rng, shapes = np.random.default_rng(0), jax.eval_shape(resnet18(CONFIG).init, KEY)
    return jax.tree.map(lambda x: rng.normal(0.3, 0.3, x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def apply():
    return jax.jit(resnet18(CONFIG).apply)


def test_eighteen_layers_have_kernels():
    params = jax.eval_shape(resnet18(CONFIG).init, KEY)
    layers = [
        (block[name]["kernel"].shape)
        for block in params["blocks"].values()
        for name in ("first", "second")
    ]
    assert len(layers) + len(params["stem"]) + 1 == 18
    assert {shape[-1] for shape in layers} == {2, 4, 8, 16}


@pytest.mark.parametrize(("size", "halvings"), [(16, 0), (32, 1), (64, 1), (64, 2)])
def test_shapes(size, halvings):
    judge = resnet18(ResNetConfig(classes=5, width=2, halvings=halvings))
    params = jax.eval_shape(judge.init, KEY)
    prediction = jax.eval_shape(judge.apply, params, jnp.zeros((4, size, size, 3)))
    assert prediction.logits.shape == (4, 5)
    assert prediction.features.shape == (4, 16)
    assert judge.features == "ResNet18-2, 16 penultimate features"


def test_images_are_judged_independently(params, apply):
    together = apply(params, IMAGES)
    others = apply(params, np.concatenate([IMAGES[:1], 1 - IMAGES[1:]]))
    np.testing.assert_allclose(together.logits[0], others.logits[0], rtol=1e-5)
    assert np.abs(together.logits[1] - others.logits[1]).max() > 1e-4


def test_features_feed_last_layer(params, apply):
    prediction = apply(params, IMAGES)
    expected = prediction.features @ params["last"]["kernel"] + params["last"]["bias"]
    np.testing.assert_allclose(prediction.logits, expected, rtol=1e-4, atol=1e-5)
    assert prediction.features.min() >= 0


def test_kernel_scale_and_mean_do_not_matter(params, apply):
    block = params["blocks"][3]
    moved = block | {"first": block["first"] | {"kernel": 7 * block["first"]["kernel"] + 2}}
    other = params | {"blocks": params["blocks"] | {3: moved}}
    np.testing.assert_allclose(
        apply(other, IMAGES).logits, apply(params, IMAGES).logits, rtol=1e-2, atol=1e-2
    )


def test_training_has_no_convolution(params):
    judge = resnet18(CONFIG)
    batch = (IMAGES, np.array([0, 1, 1]))
    jaxpr = str(jax.make_jaxpr(jax.grad(judge.loss))(params, batch, KEY))
    assert "dot_general" in jaxpr
    assert "conv_general_dilated" not in jaxpr


def test_training_views_follow_key(params):
    judge = resnet18(CONFIG)
    train = jax.jit(judge.train_apply)
    first, again, other = (train(params, IMAGES, jax.random.key(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-5


def test_block_starts_as_shortcut():
    block = _Block(2, 2, False, nnx.Rngs(0))
    x = IMAGES[..., :2]
    np.testing.assert_array_equal(jax.jit(lambda x: block(x))(x), x)
    block.scale[...] = jnp.ones(())
    assert np.abs(jax.jit(lambda x: block(x))(x) - x).max() > 0.1


# Augmentation

seen_in_training = jax.jit(augment, static_argnames=("shift", "mirror"))


def test_half_of_images_are_mirrored():
    images = np.broadcast_to(np.arange(4.0)[:, None], (1000, 4, 4, 1))
    seen = np.asarray(seen_in_training(images, KEY, shift=0, mirror=True))
    mirrored = (seen == images[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored | (seen == images).all((1, 2, 3))).all()
    assert 430 < mirrored.sum() < 570


def test_shifts_are_uniform():
    image = np.zeros((9, 9, 1), np.float32)
    image[4, 4] = 1
    seen = np.asarray(seen_in_training(np.tile(image, (2000, 1, 1, 1)), KEY, shift=2, mirror=False))
    _, rows, columns, _ = np.nonzero(seen)
    assert len(rows) == 2000
    for places in (rows, columns):
        values, counts = np.unique(places, return_counts=True)
        assert list(values) == [2, 3, 4, 5, 6]
        assert counts.min() > 330


def test_border_is_repeated():
    ones = np.ones((8, 5, 5, 3), np.float32)
    np.testing.assert_array_equal(seen_in_training(ones, KEY, shift=3, mirror=True), ones)


def test_no_augmentation_keeps_images():
    np.testing.assert_array_equal(seen_in_training(IMAGES, KEY, shift=0, mirror=False), IMAGES)


# Refusals


def test_default_config_is_one_judge():
    assert resnet18() is resnet18(ResNetConfig()) is resnet18(config=ResNetConfig())


def test_classifier_of_config():
    assert classifier(ResNetConfig(classes=2, width=2, shift=1)) is resnet18(CONFIG)


@pytest.mark.parametrize("shape", [(2, 24, 16, 3), (2, 16, 16, 1)])
def test_indivisible_images_are_refused(params, shape):
    with pytest.raises(ValueError, match=r"images.*multiples of 16.*got \[2"):
        resnet18(CONFIG).apply(params, np.zeros(shape, np.float32))
