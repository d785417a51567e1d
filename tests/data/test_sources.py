"""The digits, and the arguments of `load`."""

import sys

import numpy as np
import pytest

from gsu_jax.data import load
from gsu_jax.data.sources._holdout import HOLDOUT_SEED


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load("digits", cache_dir=tmp_path_factory.mktemp("cache"))


def test_digits_are_all_there_and_scaled_exactly(digits):
    from sklearn.datasets import load_digits

    raw = load_digits()
    assert len(digits.train) + len(digits.test) == 1_797
    assert digits.image_shape == (8, 8, 1)
    both = np.concatenate([digits.train.images, digits.test.images])[..., 0] * 16
    assert sorted(map(bytes, both.astype(np.uint8))) == sorted(
        map(bytes, raw.images.astype(np.uint8))
    )


def test_digits_are_held_out_the_same_way_everywhere(digits):
    assert HOLDOUT_SEED == 138
    assert digits.fingerprint == "376bf1b52670e5ce"
    train, test = (np.bincount(p.attributes["label"]) for p in (digits.train, digits.test))
    np.testing.assert_array_equal(test, np.round((train + test) / 5))


def test_classes_are_kept_in_the_given_order_with_their_names(digits, tmp_path):
    some = load("digits", cache_dir=tmp_path, classes=(8, 1))
    assert some.classes["label"] == ("8", "1")
    for kept, number in ((0, 8), (1, 1)):
        np.testing.assert_array_equal(
            some.train.images[some.train.attributes["label"] == kept],
            digits.train.images[digits.train.attributes["label"] == number],
        )
    assert set(some.test.attributes["label"]) == {0, 1}


def test_resized_digits_stay_in_range(tmp_path):
    big = load("digits", cache_dir=tmp_path, image_size=12)
    assert big.image_shape == (12, 12, 1)
    assert big.train.images.dtype == np.float32
    assert big.train.images.min() == 0
    assert big.train.images.max() == 1


def test_digits_need_scikit_learn(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'scikit-learn.*pip install "gsu-jax\[experiments\]"'):
        load("digits", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"classes": "138"}, TypeError, "classes.*got '138'"),
        ({"classes": 3}, TypeError, "classes.*got 3"),
        ({"classes": ()}, ValueError, r"classes.*got \[\]"),
        ({"classes": ("1", 1)}, ValueError, "classes.*got"),
        ({"classes": ("one",)}, ValueError, "class of label 'one'.*0, 1"),
        ({"image_size": 0}, ValueError, "image_size.*got 0"),
        ({"image_size": True}, TypeError, "image_size.*got True"),
        ({"image_size": 6.5}, TypeError, "image_size.*got 6.5"),
        ({"name": 3}, TypeError, "name.*got int"),
    ],
)
def test_unusable_arguments_are_named(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        load(**{"name": "digits", "cache_dir": tmp_path, **options})


def test_a_misspelled_name_gets_a_suggestion_without_a_data_folder(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'digits'"):
        load("digit", data_dir=tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'digits'"):
        load("digit", data_dir=tmp_path / "gone")
