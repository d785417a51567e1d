"""`ForgetFolder`: training images matched by their content."""

import numpy as np
import pytest
from PIL import Image
from removal_desk import Desk
from removal_series import closed_form

from gsu_jax.data import Dataset, ForgetFolder, Source, load

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 1), np.uint8)


def source(images=IMAGES, train=8):
    labels = {"label": np.arange(len(images)) % 2}
    return Source(
        "photos",
        Dataset(images[:train], {"label": labels["label"][:train]}),
        Dataset(images[train:], {"label": labels["label"][train:]}),
        {"label": ("cat", "dog")},
        "label",
    )


@pytest.fixture
def handed_in(tmp_path):
    def write(*images):
        for i, image in enumerate(images):
            Image.fromarray(image.squeeze()).save(tmp_path / f"anything-{i}.png")
        return ForgetFolder(tmp_path)

    return write


def test_images_are_found_whatever_their_names(handed_in):
    request = handed_in(IMAGES[5], IMAGES[2])
    assert request.indices(source()) == (2, 5)
    train, test = request.split(source())
    assert train.describe() == "forget: 2 images (2 listed images); retain: 6 images"
    assert test.counts["forget"] == 0


def test_every_copy_of_an_image_is_found(handed_in):
    images = IMAGES.copy()
    images[7] = images[1]
    assert handed_in(IMAGES[1]).indices(source(images)) == (1, 7)


def test_plan_says_how_many_training_images_are_copies_of_one(say, tmp_path):
    desk, train = Desk(tmp_path / "desk"), load("digits").train
    images = np.rint(train.images * 255).astype(np.uint8)
    images[[5, 9]] = images[3]
    np.savez(desk.folder / "copies.npz", images=images, labels=train.attributes["label"])
    (desk.folder / "one").mkdir()
    Image.fromarray(images[3].squeeze()).save(desk.folder / "one" / "x.png")
    file = desk.write(claim='"rows"', what='{ folder = "one" }', data='"copies.npz"')
    with closed_form():
        status, printed, _ = say("plan", file, "--folder", desk.home)
    assert status == 0
    assert "forget 3 training images, retain 1,148;" in printed


def test_float_images_are_found(handed_in):
    digits = load("digits")
    picture = np.rint(digits.train.images[3] * 255).astype(np.uint8)
    assert 3 in handed_in(picture).indices(digits)


def test_color_images_that_the_source_resized_are_found(tmp_path):
    large = np.random.default_rng(1).integers(0, 256, (10, 12, 8, 3), np.uint8)
    for i, image in enumerate(large):
        (tmp_path / "all" / "cat").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "all" / "cat" / f"{i}.png")
    (tmp_path / "one").mkdir()
    Image.fromarray(large[4]).save(tmp_path / "one" / "x.png")
    resized = load(tmp_path / "all", image_size=4, holdout=0, cache_dir=tmp_path / "cache")
    (index,) = ForgetFolder(tmp_path / "one").indices(resized)
    assert resized.train.names[index] == "cat/4.png"


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        (IMAGES[0] ^ 1, ["1 of the 2", "equal no training image of photos", "anything-0.png"]),
        (IMAGES[9], ["anything-0.png", "test image of photos"]),
    ],
)
def test_image_that_matches_no_training_image_is_named(handed_in, image, parts):
    request = handed_in(image, IMAGES[0])
    with pytest.raises(ValueError, match="forget") as error:
        request.split(source())
    for part in parts:
        assert part in str(error.value)


def test_image_of_another_size_than_an_oblong_source_is_named(handed_in):
    request = handed_in(IMAGES[0])
    with pytest.raises(ValueError, match=r"anything-0\.png has 6x6 pixels, .* photos 5x6"):
        request.split(source(IMAGES[:, :, :5]))


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"forget: folder .* has no image"):
        ForgetFolder(tmp_path)
    with pytest.raises(ValueError, match="nowhere does not exist"):
        ForgetFolder(tmp_path / "nowhere")
    with pytest.raises(TypeError, match="folder must be a path, got 5"):
        ForgetFolder(5)
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match=r"a\.png cannot be decoded"):
        ForgetFolder(tmp_path).split(source())
