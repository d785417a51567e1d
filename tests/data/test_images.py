"""Checks and scaling of images, and `Dataset` and `Source` that hold them."""

import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.data import Dataset, Source, check_images, check_pair, scale_images

FLOATS = np.random.default_rng(0).random((5, 3, 3, 1)).astype(np.float32)
BYTES = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 1), np.uint8)
LABELS = np.array([3, 8] * 10)


def test_uint8_is_scaled_to_float32_and_floats_are_kept():
    np.testing.assert_array_equal(scale_images(np.array([0, 255], np.uint8)), [0.0, 1.0])
    assert scale_images(np.array([255], np.uint8)).dtype == jnp.float32
    assert scale_images(jnp.ones(1, jnp.bfloat16)).dtype == jnp.bfloat16
    with pytest.raises(TypeError, match=r"images.*got int32"):
        scale_images(np.array([1], np.int32))


@pytest.mark.parametrize(
    ("images", "error", "got"),
    [
        (FLOATS[0], ValueError, r"got shape \(3, 3, 1\)"),
        (FLOATS[:0], ValueError, "is empty"),
        (FLOATS * 255, ValueError, r"got values from .* to \d+"),
        (FLOATS - 1, ValueError, "got values from -"),
        (np.full_like(FLOATS, np.nan), ValueError, "got NaN or infinity"),
        (np.full_like(FLOATS, -np.inf), ValueError, "got NaN or infinity"),
        (FLOATS.astype(np.int64), TypeError, "got int64"),
        (FLOATS > 0.5, TypeError, "got bool"),
        ("cat.png", ValueError, r"got shape \(\)"),
    ],
)
def test_unusable_images_are_refused(images, error, got):
    with pytest.raises(error, match=rf"forget.*{got}"):
        check_images(images, "forget")


def test_lists_and_device_arrays_of_images_are_accepted():
    assert check_images(FLOATS.tolist(), "forget").shape == FLOATS.shape
    on_device = jnp.asarray(FLOATS)
    assert check_images(on_device, "forget") is on_device


def test_a_pair_must_have_one_image_shape():
    check_pair(BYTES, BYTES[:3])
    with pytest.raises(ValueError, match=r"forget and retain.*\(6, 5, 1\) and \(3, 5, 1\)"):
        check_pair(BYTES, BYTES[:, :3])


def test_take_keeps_images_and_attributes_together():
    dataset = Dataset(BYTES, {"label": LABELS})
    taken = dataset.take([4, 1])
    np.testing.assert_array_equal(taken.images, BYTES[[4, 1]])
    np.testing.assert_array_equal(taken.attributes["label"], LABELS[[4, 1]])
    assert len(dataset.take([])) == 0
    assert len(dataset.take(LABELS == 3)) == 10
    assert repr(dataset) == "Dataset(20 images 6x5x1 uint8; attributes: label)"


@pytest.mark.parametrize(
    ("images", "attributes", "error", "message"),
    [
        ([1, 2], {}, TypeError, "images.*got list"),
        (BYTES / 255, {}, TypeError, r"images.*got float64"),
        (BYTES[:, :0], {}, ValueError, r"images.*got shape \(20, 0, 5, 1\)"),
        (BYTES.repeat(3, 3).transpose(0, 3, 1, 2), {}, ValueError, r"images.*\(20, 3, 6, 5\)"),
        (BYTES, {"label": list(LABELS)}, TypeError, "'label'.*got list"),
        (BYTES, {"label": LABELS / 2}, TypeError, "'label'.*got float64"),
        (BYTES, {"label": LABELS[:3]}, ValueError, r"'label'.*got shape \(3,\)"),
    ],
)
def test_an_inconsistent_dataset_is_refused(images, attributes, error, message):
    with pytest.raises(error, match=message):
        Dataset(images, attributes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "shape"}, "label: unknown attribute of own 'shape'.*label"),
        ({"classes": {"label": ("3",)}}, "'label' has 1 class names, got values 0 to 1"),
        ({"classes": {}}, r"train, test and classes.*\['label'\], \['label'\] and \[\]"),
        ({"train": Dataset(BYTES[:0], {"label": LABELS[:0]})}, "train is empty"),
        ({"test": Dataset(BYTES[:, :3], {"label": LABELS})}, r"got \(6, 5, 1\).*\(3, 5, 1\)"),
    ],
)
def test_an_inconsistent_source_is_refused(changes, message):
    dataset = Dataset(BYTES, {"label": (LABELS == 8).astype(int)})
    fields = {"train": dataset, "test": dataset, "classes": {"label": ("3", "8")}, "label": "label"}
    with pytest.raises(ValueError, match=message):
        Source("own", **{**fields, **changes})
