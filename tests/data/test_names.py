"""Names of images: kept by every source, and requests by them."""

import numpy as np
import pytest
from PIL import Image

from gsu_jax.data import (
    Dataset,
    ForgetClass,
    ForgetClasses,
    ForgetFiles,
    ForgetIndices,
    Source,
    clear_cache,
    load,
    parse_request,
)


@pytest.fixture
def photos(tmp_path):
    """Three classes of ten images each; every image has a color of its own."""
    for i, label in enumerate(("cat", "dog", "cat, wild")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for j in range(10):
            color = (20 * i, 20 * j, 0)
            Image.new("RGB", (4, 4), color).save(tmp_path / "photos" / label / f"{i}{j}.png")
    return tmp_path / "photos"


@pytest.fixture
def read(photos, tmp_path):
    return lambda **options: load(photos, cache_dir=tmp_path / "cache", **options)


def color_of(name):
    """What the fixture painted the image of this name with."""
    number = name.split("/")[-1].removesuffix(".png")
    return [20 * int(number[0]), 20 * int(number[1]), 0]


@pytest.mark.parametrize("options", [{}, {"classes": ("dog", "cat")}, {"image_size": 2}], ids=str)
def test_each_image_keeps_the_path_of_its_file(read, options):
    for source in (read(**options), read(**options)):  # decoded, and from the cache
        for dataset in (source.train, source.test):
            colors = dataset.images[:, 0, 0].tolist()
            assert colors == [color_of(str(name)) for name in dataset.names]
            labels = np.array(source.classes["label"])[dataset.attributes["label"]]
            assert [str(name).split("/")[0] for name in dataset.names] == labels.tolist()


def test_names_are_no_part_of_the_fingerprint():
    images, labels = np.zeros((2, 1, 1, 1), np.uint8), {"pet": np.array([0, 1])}
    plain = Dataset(images, labels)
    named = Dataset(images, labels, np.array(["a", "b"]))
    classes = {"pet": ("cat", "dog")}
    first = Source("pets", plain, plain, classes, "pet").fingerprint
    assert first == Source("pets", named, named, classes, "pet").fingerprint


def test_an_npz_has_names_if_it_gives_them(tmp_path):
    names, images = np.array([f"{i}.png" for i in range(10)]), np.zeros((10, 2, 2), np.uint8)
    images[:, 0, 0] = range(10)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(10) % 2, names=names)
    source = load(tmp_path / "own.npz")
    assert set(source.classes) == {"label"}
    for dataset in (source.train, source.test):
        assert [f"{i}.png" for i in dataset.images[:, 0, 0, 0]] == dataset.names.tolist()


@pytest.mark.parametrize(
    ("names", "error"), [(["a", "b"], TypeError), (np.array(["a"]), ValueError),
                         (np.array([1, 2]), TypeError)],
)  # fmt: skip
def test_names_of_another_kind_or_number_are_refused(names, error):
    with pytest.raises(error, match="names"):
        Dataset(np.zeros((2, 1, 1, 1), np.uint8), {}, names)


def forgotten(request, source):
    return sorted(request.split(source).train.forget.names.tolist())


def test_images_are_found_by_their_whole_name_or_its_end(read, tmp_path):
    source = read(holdout=0)
    (tmp_path / "list.txt").write_text("dog/13.png\n\n 24.png \n")
    assert forgotten(ForgetFiles(["cat/01.png", "12.png"]), source) == ["cat/01.png", "dog/12.png"]
    request = parse_request(f"files:cat/01.png, @{tmp_path / 'list.txt'}", source)
    assert forgotten(request, source) == ["cat, wild/24.png", "cat/01.png", "dog/13.png"]
    assert request.describe(source) == "3 named images"
    assert request.seen(source) is None
    assert not request.masks(source)[1].any()


def test_a_name_that_is_missing_or_held_out_or_not_the_only_one_is_explained(read):
    source = read()
    held_out = str(source.test.names[0])
    for name, message in (
        ("cat/99.png", "no image.*'cat/99.png'.*Did you mean"),
        (held_out, f"'{held_out}' is a test image.*holdout=0"),
    ):
        with pytest.raises(ValueError, match=message):
            ForgetFiles([name]).split(source)
    twice = Dataset(
        source.train.images[:2],
        {"label": np.array([0, 1])},
        np.array(["a/1.png", "b/1.png"]),
    )
    source = Source("twice", twice, twice, {"label": ("a", "b")}, "label")
    with pytest.raises(ValueError, match=r"'1.png' fits 2 images: a/1.png"):
        ForgetFiles(["1.png"]).split(source)


@pytest.mark.parametrize(("files", "error"), [([], ValueError), ([3], TypeError)])
def test_files_that_are_no_names_are_refused(files, error):
    with pytest.raises(error, match="files"):
        ForgetFiles(files)


def test_a_source_without_names_or_a_list_that_is_missing_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"digits have no names.*indices"):
        parse_request("files:a.png", load("digits")).split(load("digits"))
    with pytest.raises(ValueError, match=r"cannot read.*missing\.txt"):
        parse_request(f"files:@{tmp_path / 'missing.txt'}", load("digits"))
    with pytest.raises(ValueError, match="files:"):
        parse_request("indices:a.png", load("digits"))


def test_several_classes_are_their_union(read):
    source = read()
    request = parse_request("dog, cat", source)
    assert request == ForgetClass("dog") | ForgetClass("cat") == ForgetClasses(["dog", "cat"])
    masks = [ForgetClass(name).masks(source) for name in ("dog", "cat")]
    for found, first, second in zip(request.masks(source), *masks, strict=True):
        np.testing.assert_array_equal(found, first | second)
    numbers = [source.classes["label"].index(name) for name in ("dog", "cat")]
    assert request.seen(source) == ("label", tuple(numbers))
    assert request.describe(source) == "classes dog, cat"


def test_a_class_with_a_comma_in_its_name_is_one_class(read):
    assert parse_request("cat, wild", read()) == ForgetClass("cat, wild")


def test_a_single_class_is_seen_as_before(read):
    source = read()
    assert ForgetClass("dog").seen(source) == ("label", (source.classes["label"].index("dog"),))
    assert ForgetIndices([0]).seen(source) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ForgetClasses([]), "classes.*none"),
        (lambda: ForgetClasses(["1", 1]), "classes.*once.*1, 1"),
        (lambda: ForgetClass("1") | ForgetClass("a", "shape"), "one attribute.*shape"),
        (lambda: parse_request("1,x", load("digits")), "'x'"),
    ],
)
def test_wrong_classes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_holdout_is_the_share_of_every_class_and_nests(read):
    parts = {share: read(holdout=share).test.names.tolist() for share in (0.1, 0.2, 0.5)}
    assert [len(part) for part in parts.values()] == [3, 6, 15]
    assert set(parts[0.1]) < set(parts[0.2]) < set(parts[0.5])
    assert parts[0.2] == read().test.names.tolist()


def test_without_holdout_every_image_is_a_training_image(read):
    source = read(holdout=0)
    assert (len(source.train), len(source.test)) == (30, 0)
    train, test = ForgetClass("dog").split(source)
    assert (train.counts, test.counts) == (
        {"forget": 10, "retain": 20},
        {"forget": 0, "retain": 0},
    )


@pytest.mark.parametrize("holdout", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused(read, holdout):
    with pytest.raises(ValueError, match=rf"holdout.*got {holdout}"):
        read(holdout=holdout)


def test_holdout_is_refused_where_there_are_test_images():
    with pytest.raises(ValueError, match=r"holdout.*digits"):
        load("digits", holdout=0.5)


def test_cleared_copies_are_gone_and_no_others(photos, read, tmp_path):
    read(), read(image_size=2), load("digits", cache_dir=tmp_path / "cache")
    assert len(clear_cache(photos, tmp_path / "cache")) == 2
    assert clear_cache("photos", tmp_path / "cache") == []
    assert [path.name[:7] for path in (tmp_path / "cache").iterdir()] == ["digits-"]
    assert len(read().train) == 24
