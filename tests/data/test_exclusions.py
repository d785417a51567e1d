"""`Exclusions` and `exclude`: removed images do not come back."""

import numpy as np
import pytest

from gsu_jax.data import Dataset, Exclusions, Source, exclude, load

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 6, 1), np.uint8)


def source(images=IMAGES, train=7):
    labels = np.arange(len(images)) % 2
    return Source(
        "photos",
        Dataset(images[:train], {"label": labels[:train]}),
        Dataset(images[train:], {"label": labels[train:]}),
        {"label": ("cat", "dog")},
        "label",
    )


def test_removed_images_are_refused_or_dropped_from_both_sets():
    exclusions = Exclusions.of(IMAGES[[2, 5, 8]])
    with pytest.raises(ValueError, match=r"exclusions: 3 of the 10 images of photos"):
        exclude(source(), exclusions)
    kept = exclude(source(), exclusions, found="drop")
    np.testing.assert_array_equal(kept.train.images, IMAGES[[0, 1, 3, 4, 6]])
    np.testing.assert_array_equal(kept.test.images, IMAGES[[7, 9]])


def test_source_without_removed_images_is_the_same_object():
    whole = source()
    assert exclude(whole, Exclusions.of(IMAGES[:1] ^ 1)) is whole


def test_image_is_found_in_another_order_and_type():
    digits = load("digits")
    exclusions = Exclusions.of(np.rint(digits.train.images[[3]] * 255).astype(np.uint8))
    turned = digits.train.images[::-1]
    assert exclusions.matches(turned)[len(turned) - 1 - 3]


def test_salts_differ_and_added_images_share_one():
    one, other = Exclusions.of(IMAGES[:2]), Exclusions.of(IMAGES[:2])
    assert not one.commitments & other.commitments
    assert one.add(IMAGES[2:4]).matches(IMAGES).tolist() == [True] * 4 + [False] * 6
    assert repr(one) == "Exclusions(2 images)"


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"found must be .*'keep'"):
        exclude(source(), Exclusions.of(IMAGES[:1]), found="keep")
    with pytest.raises(TypeError, match="exclusions"):
        exclude(source(), [1, 2])
    with pytest.raises(ValueError, match="all 7 training images of photos"):
        exclude(source(), Exclusions.of(IMAGES), found="drop")
    with pytest.raises(ValueError, match="salt must be 32 bytes"):
        Exclusions(b"", frozenset())
