"""`.npz` files and folders of images: what is read, what is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsu_jax.data import load

GRAY = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 1), np.uint8)
LABELS = np.array([3, 8] * 10)


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "own.npz", **arrays)
        return tmp_path / "own.npz"

    return write


@pytest.fixture
def folder(tmp_path):
    """Writes pictures: `folder({"cat/0.png": array or Pillow image})`."""

    def write(pictures):
        for name, picture in pictures.items():
            file = tmp_path / "own" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(picture, np.ndarray):
                picture = Image.fromarray(picture)
            picture.save(file)
        return tmp_path / "own"

    return write


def gray_pictures(classes=("cat", "dog"), n=5):
    return {f"{c}/{i}.png": GRAY[i, :, :, 0] for c in classes for i in range(n)}


# .npz


def test_an_npz_with_test_images_keeps_its_split(npz):
    old = np.arange(20) % 2 == 0
    path = npz(
        images=GRAY[..., 0],
        labels=LABELS,
        old=old,
        place=np.array(["sea", "hill"] * 10),
        test_images=GRAY[:4, ..., 0],
        test_labels=LABELS[:4],
        test_old=old[:4],
        test_place=np.array(["sea"] * 4),
        about=np.array("a note of another shape is left out"),
    )
    source = load(path)
    np.testing.assert_array_equal(source.train.images, GRAY)
    np.testing.assert_array_equal(source.train.attributes["label"], [0, 1] * 10)
    np.testing.assert_array_equal(source.train.attributes["old"], old)
    assert source.classes == {
        "label": ("3", "8"),
        "old": ("False", "True"),
        "place": ("hill", "sea"),
    }
    assert len(source.test) == 4
    assert load(str(path), classes=("8",)).train.attributes["label"].tolist() == [0] * 10
    assert load(path, image_size=3).image_shape == (3, 3, 1)


def test_an_npz_without_test_images_holds_out_a_fifth_of_every_class(npz):
    source = load(npz(images=GRAY.astype(np.float64) / 255, labels=LABELS))
    assert source.train.images.dtype == np.float32
    assert np.bincount(source.test.attributes["label"]).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"labels": LABELS}, ValueError, "'images', got labels"),
        ({"images": GRAY}, ValueError, "'labels', got images"),
        ({"images": GRAY, "labels": LABELS[:7]}, ValueError, r"labels.*got shape \(7,\)"),
        ({"images": GRAY, "labels": LABELS / 2}, TypeError, "labels.*got float64"),
        ({"images": GRAY, "labels": LABELS.astype(object)}, TypeError, "'labels'.*pickled"),
        ({"images": GRAY / 2.0, "labels": LABELS}, ValueError, r"images.*got values from 0 to 127"),
        ({"images": GRAY / -255, "labels": LABELS}, ValueError, "images.*got values from -1"),
        (
            {"images": np.where(GRAY > 3, np.nan, 0.5), "labels": LABELS},
            ValueError,
            "images.*got NaN",
        ),
        ({"images": GRAY.astype(int), "labels": LABELS}, TypeError, r"images.*got int64"),
        ({"images": GRAY[0], "labels": LABELS}, ValueError, "labels.*got shape"),
        ({"images": GRAY[0, 0], "labels": LABELS}, ValueError, r"images.*got shape \(5, 1\)"),
        (
            {"images": np.zeros((20, 3, 32, 32), np.uint8), "labels": LABELS},
            ValueError,
            r"images.*got shape \(20, 3, 32, 32\)",
        ),
        ({"images": GRAY, "labels": LABELS, "w": LABELS / 3}, TypeError, "w.*got float64"),
        ({"images": GRAY, "labels": LABELS, "label": LABELS}, ValueError, "'label' and 'labels'"),
        ({"images": GRAY, "labels": LABELS, "test_images": GRAY}, ValueError, "'test_labels'"),
        (
            {"images": GRAY, "labels": LABELS, "test_labels": LABELS},
            ValueError,
            "test_labels without test_images",
        ),
        (
            {"images": GRAY, "labels": LABELS, "test_images": GRAY[:, :4], "test_labels": LABELS},
            ValueError,
            "train and test",
        ),
        (
            {"images": GRAY, "labels": LABELS, "test_images": GRAY, "test_labels": LABELS[1:]},
            ValueError,
            "test_labels.*got shape",
        ),
        ({"images": GRAY[:2], "labels": LABELS[:2]}, ValueError, "images: 2 images"),
        ({"images": GRAY[:0], "labels": LABELS[:0]}, ValueError, "images: 0 images"),
    ],
)
def test_an_unusable_npz_is_refused(npz, arrays, error, message):
    with pytest.raises(error, match=message):
        load(npz(**arrays))


def test_a_pickle_in_an_npz_is_never_executed(npz, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = npz(images=GRAY, labels=LABELS, trap=np.array([Trap()]))
    with pytest.raises(TypeError, match=r"'trap'.*pickled"):
        load(path)
    assert not (tmp_path / "executed").exists()


def test_files_of_another_format_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.npz"):
        load(tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.npz"):
        load(tmp_path / "text.npz")
    with open(tmp_path / "one.npz", "wb") as file:
        np.save(file, GRAY)
    with pytest.raises(ValueError, match=r"one\.npz"):
        load(tmp_path / "one.npz")


def test_a_damaged_npz_is_named(npz):
    path = npz(images=GRAY, labels=LABELS)
    good = path.read_bytes()
    for damaged in (good[:300] + bytes([good[300] ^ 1]) + good[301:], good[:-40], good[:400]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"own\.npz"):
            load(path)


# Folders


def test_a_folder_of_gray_images_is_gray(folder, tmp_path):
    source = load(folder(gray_pictures(("2", "10"))), cache_dir=tmp_path)
    assert source.name == "own"
    assert source.classes == {"label": ("2", "10")}
    assert (len(source.train), len(source.test)) == (8, 2)
    assert source.image_shape == (6, 5, 1)
    pixels = {image.tobytes() for image in (*source.train.images, *source.test.images)}
    assert pixels == {GRAY[i].tobytes() for i in range(5)}


def test_train_and_test_folders_keep_their_split(folder, tmp_path):
    pictures = {f"train/{k}": p for k, p in gray_pictures().items()}
    pictures |= {f"test/{k}": p for k, p in gray_pictures(n=2).items()}
    source = load(folder(pictures), cache_dir=tmp_path)
    assert (len(source.train), len(source.test)) == (10, 4)
    np.testing.assert_array_equal(source.test.images, GRAY[[0, 1, 0, 1]])
    np.testing.assert_array_equal(source.test.attributes["label"], [0, 0, 1, 1])


def test_one_color_image_makes_all_images_rgb(folder, tmp_path):
    red = np.zeros((6, 5, 3), np.uint8) + np.array([200, 0, 0], np.uint8)
    path = folder({**gray_pictures(), "cat/red.png": red})
    (path / "cat" / "notes.txt").write_text("left out")
    source = load(path, cache_dir=tmp_path)
    assert source.image_shape == (6, 5, 3)
    images = np.concatenate([source.train.images, source.test.images])
    assert (images == red).all(axis=(1, 2, 3)).sum() == 1


def test_images_of_several_sizes_need_image_size(folder, tmp_path):
    wide = np.zeros((4, 9), np.uint8)
    wide[:, 2:6] = 255
    path = folder({**gray_pictures(), "cat/wide.png": wide})
    with pytest.raises(ValueError, match=r"got 5x6 .* 9x4 .*image_size= to"):
        load(path, cache_dir=tmp_path)
    source = load(path, cache_dir=tmp_path, image_size=4)
    images = np.concatenate([source.train.images, source.test.images])
    assert (images == 255).all(axis=(1, 2, 3)).sum() == 1, "the center square of the wide image"


def test_unusable_folders_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"name.*gone does not exist"):
        load(tmp_path / "gone")
    path = folder({"cat.png": GRAY[0, :, :, 0]})
    with pytest.raises(ValueError, match=r"own: no images"):
        load(path, cache_dir=tmp_path)
    folder(gray_pictures())
    (path / "cat" / "9.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"9\.png"):
        load(path, cache_dir=tmp_path)
    whole = (path / "cat" / "0.png").read_bytes()
    (path / "cat" / "9.png").write_bytes(whole[:-30])
    with pytest.raises(ValueError, match=r"9\.png: cannot be decoded"):
        load(path, cache_dir=tmp_path)
    Image.fromarray(np.zeros((6, 5), np.uint16)).save(path / "cat" / "9.png")
    with pytest.raises(TypeError, match=r"9\.png.*got mode"):
        load(path, cache_dir=tmp_path)


def test_a_path_to_another_file_is_called_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("own.py", "photos"):
        Path(name).write_text("x = 1")
        with pytest.raises(ValueError, match=rf"name: {name} is a file.*folder of images.*\.npz"):
            load(name, data_dir=tmp_path / "tfds")


def test_a_path_that_does_not_exist_is_named_before_the_folder_of_tfds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for data_dir in (tmp_path, tmp_path / "gone"):
        with pytest.raises(ValueError, match=r"name: there is no file or folder 'nope'.*mnist"):
            load("nope", data_dir=data_dir)


def test_a_folder_needs_pillow(folder, tmp_path, monkeypatch):
    path = folder(gray_pictures())
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match="a folder of images needs pillow"):
        load(path, cache_dir=tmp_path)


def test_dot_slash_means_a_folder_even_if_tfds_has_the_name(folder, tmp_path, monkeypatch):
    path = folder(gray_pictures())
    (tmp_path / "tfds" / "own").mkdir(parents=True)
    monkeypatch.chdir(path.parent)
    assert load("./own", data_dir=tmp_path / "tfds", cache_dir=tmp_path).name == "own"
    with pytest.raises(ValueError, match="unknown data set 'own'"):
        load("own", data_dir=tmp_path / "tfds")
