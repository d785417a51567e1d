"""The test images that are held out of a source without any: how many, which, and when none."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gsu_jax.data import Dataset, ForgetFiles, ForgetWhere, load
from gsu_jax.data.sources._holdout import HOLDOUT_SHARE, hold_out


@pytest.fixture
def photos(tmp_path):
    for c, name in enumerate(("cat", "dog")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(10):
            gray = np.full((6, 6), 20 * c + i, np.uint8)
            Image.fromarray(gray).save(folder / f"{20 * c + i}.png")
    return tmp_path / "photos"


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        images = np.arange(20, dtype=np.uint8)[:, None, None] * np.ones((1, 3, 3), np.uint8)
        np.savez(tmp_path / "own.npz", images=images, labels=np.arange(20) % 2, **arrays)
        return tmp_path / "own.npz"

    return write


def numbered(labels):
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return Dataset(images, {"label": np.array(labels, np.int32)})


def pixels(dataset):
    return dataset.images[:, 0, 0, 0].tolist()


labelings = st.lists(st.integers(0, 3), min_size=1, max_size=60)
shares = st.floats(0, 1, exclude_max=True)


@settings(max_examples=200, deadline=None)
@given(labelings, shares)
def test_every_class_gives_its_share_and_keeps_one_training_image(labels, share):
    dataset = numbered(labels)
    counts = np.bincount(labels, minlength=4)
    wanted = [min(round(share * n), n - 1) if n else 0 for n in counts.tolist()]
    if share and not sum(wanted):
        with pytest.raises(ValueError, match=r"images.*too few.*holdout=0"):
            hold_out(dataset, "label", share)
        return
    train, test = hold_out(dataset, "label", share)
    assert sorted(pixels(train) + pixels(test)) == list(range(len(labels)))
    assert pixels(train) == sorted(pixels(train))
    assert pixels(test) == sorted(pixels(test))
    assert np.bincount(test.attributes["label"], minlength=4).tolist() == wanted


@settings(max_examples=50, deadline=None)
@given(labelings, st.floats(0.3, 0.6), st.floats(0.6, 0.9))
def test_a_larger_share_holds_out_the_same_images_and_more(labels, small, large):
    dataset = numbered(labels * 4)
    held_out = [set(pixels(hold_out(dataset, "label", share)[1])) for share in (small, large)]
    assert held_out[0] <= held_out[1]


def test_the_usual_share_is_a_fifth_and_its_images_are_what_they_were(photos, npz, tmp_path):
    assert HOLDOUT_SHARE == 0.2
    folder = tmp_path / "cache"
    for name in (photos, npz(), "digits"):
        usual, same = (load(name, cache_dir=folder, **o) for o in ({}, {"holdout": 0.2}))
        assert usual.fingerprint == same.fingerprint
    assert len(list(folder.iterdir())) == 2, "one entry of the folder, one of the digits"
    held_out = ["cat/7.png", "cat/8.png", "dog/22.png", "dog/25.png"]
    assert load(photos, cache_dir=folder).test.names.tolist() == held_out


def test_an_entry_of_the_usual_share_has_the_key_of_before(tmp_path, monkeypatch):
    from gsu_jax.data.sources import _load

    keys = []
    entry_path = _load.cache.entry_path
    monkeypatch.setattr(
        _load.cache, "entry_path", lambda *a: keys.append(json.dumps(a[2])) or entry_path(*a)
    )
    load("digits", cache_dir=tmp_path)
    load("digits", cache_dir=tmp_path, holdout=0.5)
    assert list(json.loads(keys[0])) == ["name", "origin", "classes", "image_size"]
    assert json.loads(keys[1])["holdout"] == 0.5


def test_nothing_held_out_leaves_every_image_to_training(photos, npz, tmp_path):
    for name in (photos, npz(), "digits"):
        for _ in ("decoded", "from the cache"):
            source = load(name, cache_dir=tmp_path / "cache", holdout=0)
            usual = load(name, cache_dir=tmp_path / "cache")
            assert len(source.train) == len(usual.train) + len(usual.test)
            assert len(source.test) == 0
            assert source.test.images.shape[1:] == source.image_shape
            assert "0 images" in repr(source.test)
            assert source.fingerprint != usual.fingerprint
    small = load(photos, cache_dir=tmp_path / "cache", holdout=0, image_size=3, classes=["dog"])
    assert (len(small.train), len(small.test)) == (10, 0)


def test_a_request_meets_an_empty_test_set(photos, tmp_path):
    source = load(photos, cache_dir=tmp_path / "cache", holdout=0)
    train, test = ForgetFiles(["cat/2.png"]).split(source)
    assert train.counts == {"forget": 1, "retain": 19}
    assert test.describe() == "forget: 0 images (1 listed image); retain: 0 images"
    dark = ForgetWhere(lambda d: d.images.reshape(len(d), -1).max(axis=1) < 5, "dark")
    assert [split.counts["forget"] for split in dark.split(source)] == [5, 0]


def test_a_source_with_test_images_refuses_a_share(photos, npz, tmp_path):
    images = np.zeros((4, 3, 3), np.uint8)
    path = npz(test_images=images, test_labels=np.arange(4) % 2)
    with pytest.raises(ValueError, match=r"holdout: .*own.npz has test images.*got 0.2"):
        load(path, holdout=0.2)
    (photos / "test").mkdir()
    (photos / "train").mkdir()
    for name in ("cat", "dog"):
        (photos / name).rename(photos / "train" / name)
    (photos / "test" / "cat").mkdir()
    (photos / "train" / "cat" / "0.png").rename(photos / "test" / "cat" / "0.png")
    load(photos, cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"holdout: .*photos has a folder test.*got 0"):
        load(photos, cache_dir=tmp_path / "cache", holdout=0)


def test_a_prepared_data_set_with_a_test_split_refuses_a_share(tfds_dir, tmp_path):
    with pytest.raises(ValueError, match=r"holdout: mnist has a split test.*got 0.1"):
        load("mnist", data_dir=tfds_dir, cache_dir=tmp_path, holdout=0.1)


@pytest.mark.parametrize(
    ("holdout", "error"),
    [(1, ValueError), (-0.1, ValueError), (float("nan"), ValueError), ("a", TypeError)],
)
def test_a_share_is_a_number_in_zero_to_one(tmp_path, holdout, error):
    with pytest.raises(error, match=f"holdout must be.*got.*{holdout}"):
        load("digits", cache_dir=tmp_path, holdout=holdout)
