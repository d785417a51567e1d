"""The names of files: where they come from, and that nothing loses or exchanges them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gsu_jax.data import Dataset, load


def drawn(names):
    """One 4x4 picture per name; pixel value and name belong together."""
    images = np.full((len(names), 4, 4, 1), 0, np.uint8)
    images += np.arange(len(names), dtype=np.uint8)[:, None, None, None]
    return Dataset(images, {"label": np.arange(len(names)) % 2}, np.array(names, dtype=str))


@pytest.fixture
def photos(tmp_path):
    """A folder whose gray level g is the file CLASS/g.png."""

    def write(parts=("",), classes=("Bag", "Sandal"), n=10):
        for part in parts:
            for c, name in enumerate(classes):
                folder = tmp_path / "photos" / part / name
                folder.mkdir(parents=True)
                for i in range(n):
                    gray = np.full((6, 6), 20 * c + i, np.uint8)
                    Image.fromarray(gray).save(folder / f"{20 * c + i}.png")
        return tmp_path / "photos"

    return write


def assert_names_belong(*datasets):
    for dataset in datasets:
        levels = [int(name.rsplit("/", 1)[-1].removesuffix(".png")) for name in dataset.names]
        assert dataset.images[:, 0, 0, 0].tolist() == levels


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1).filter(lambda s: "\0" not in s), min_size=1), st.data())
def test_taken_images_keep_their_names(names, data):
    dataset = drawn(names)
    indices = data.draw(st.lists(st.integers(0, len(names) - 1)))
    taken = dataset.take(indices)
    assert taken.names.tolist() == [names[i] for i in indices]
    mask = np.isin(np.arange(len(names)), indices)
    assert dataset.take(mask).names.tolist() == [names[i] for i in sorted(set(indices))]


def test_a_dataset_without_names_stays_without():
    dataset = Dataset(np.zeros((3, 2, 2, 1), np.uint8), {})
    assert dataset.names is None
    assert dataset.take([0, 2]).names is None


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["a", "b"], TypeError, r"names.*got list.*dtype=str"),
        (np.array([1, 2]), TypeError, "names.*got int64"),
        (np.array(["a", "b"], object), TypeError, "names.*got object"),
        (np.array(["a"]), ValueError, r"names.*each of the 2 images.*got shape \(1,\)"),
        (np.array([["a", "b"]]), ValueError, r"names.*got shape \(1, 2\)"),
    ],
)
def test_unusable_names_are_refused(names, error, message):
    with pytest.raises(error, match=message):
        Dataset(np.zeros((2, 2, 2, 1), np.uint8), {}, names)


@pytest.mark.parametrize("options", [{}, {"image_size": 3}, {"classes": ["Sandal"]}])
def test_a_folder_names_every_image_by_its_path(photos, tmp_path, options):
    path = photos()
    for _ in ("decoded", "from the cache"):
        source = load(path, cache_dir=tmp_path / "cache", **options)
        assert_names_belong(source.train, source.test)
        assert set(source.train.names).isdisjoint(source.test.names)
        some = [f"Sandal/{20 + i}.png" for i in range(10)]
        assert set(some) <= {*source.train.names, *source.test.names}
    assert "named" in repr(source.train)


def test_names_tell_the_training_from_the_test_folder(photos, tmp_path):
    source = load(photos(("train", "test")), cache_dir=tmp_path / "cache")
    assert source.train.names[0] == "train/Bag/0.png"
    assert source.test.names[0] == "test/Bag/0.png"
    assert_names_belong(source.train, source.test)


def test_names_change_no_fingerprint(photos, tmp_path):
    source = load(photos(), cache_dir=tmp_path / "cache")
    assert source.fingerprint == "0e2d68e0e0f57e92", "what was computed before names were kept"


def test_a_cache_entry_from_before_names_is_not_read(photos, tmp_path):
    from gsu_jax.data.sources import _cache as cache

    path, folder = photos(), tmp_path / "cache"
    load(path, cache_dir=folder)
    (new,) = folder.iterdir()
    files = sorted(path.rglob("*.png"))
    states = [[str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    old_key = {
        "name": "photos",
        "origin": [str(path), states],
        "classes": None,
        "image_size": None,
    }
    assert cache.entry_path(folder, "photos", old_key) != new


def test_an_npz_may_have_names(tmp_path):
    images = np.arange(20, dtype=np.uint8)[:, None, None] * np.ones((1, 3, 3), np.uint8)
    arrays = {"images": images, "labels": np.arange(20) % 2}
    names = np.array([f"{i}.png" for i in range(20)])
    plain = tmp_path / "plain.npz"
    np.savez(plain, **arrays)
    assert load(plain).train.names is None
    for stored in (names, names.astype("S")):
        np.savez(tmp_path / "named.npz", **arrays, names=stored)
        source = load(tmp_path / "named.npz")
        assert_names_belong(source.train, source.test)
        assert list(source.classes) == ["label"]
        assert source.fingerprint == load(plain).fingerprint


def test_names_of_an_npz_need_test_names_beside_test_images(tmp_path):
    images, labels = np.zeros((4, 3, 3), np.uint8), np.arange(4) % 2
    arrays = {"images": images, "labels": labels, "test_images": images, "test_labels": labels}
    arrays["names"] = np.array(list("abcd"))
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(ValueError, match="'test_names'"):
        load(tmp_path / "own.npz")
    np.savez(tmp_path / "own.npz", **arrays, test_names=np.arange(4))
    with pytest.raises(TypeError, match=r"test_names.*got int64"):
        load(tmp_path / "own.npz")
    np.savez(tmp_path / "own.npz", **arrays, test_names=np.array(["e", "f"]))
    with pytest.raises(ValueError, match=r"test_names.*got shape \(2,\)"):
        load(tmp_path / "own.npz")
    np.savez(tmp_path / "own.npz", **arrays, test_names=np.array(list("efgh")))
    assert load(tmp_path / "own.npz").test.names.tolist() == list("efgh")


def test_other_arrays_called_names_are_what_they_were(tmp_path):
    arrays = {"images": np.zeros((10, 3, 3), np.uint8), "labels": np.arange(10) % 2}
    np.savez(tmp_path / "numbers.npz", **arrays, names=np.arange(10) % 3)
    assert list(load(tmp_path / "numbers.npz").classes) == ["label", "names"]
    np.savez(tmp_path / "classes.npz", **arrays, names=np.array(["cat", "dog"]))
    assert load(tmp_path / "classes.npz").train.names is None
