"""Requests: what `--forget` means, how many images each side has, what is refused."""

import numpy as np
import pytest

from gsu_jax.data import (
    Dataset,
    ForgetAttribute,
    ForgetClass,
    ForgetIndices,
    ForgetWhere,
    Source,
    parse_request,
    split,
)


def part(n):
    images = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    index = np.arange(n)
    return Dataset(
        images, {"label": index % 3, "Male": index % 2 == 0, "shape": (index % 5 == 0).astype(int)}
    )


@pytest.fixture(scope="module")
def source():
    classes = {
        "label": ("1", "3", "8"),
        "Male": ("False", "True"),
        "shape": ("square", "heart"),
    }
    return Source("toy", part(30), part(9), classes, "label")


@pytest.mark.parametrize(
    ("text", "request_", "forget", "description"),
    [
        ("1", ForgetClass("1"), range(0, 30, 3), "class 1"),
        (" 8 ", ForgetClass(8), range(2, 30, 3), "class 8"),
        ("label=3", ForgetClass("3", "label"), range(1, 30, 3), "label=3"),
        ("Male", ForgetAttribute("Male"), range(0, 30, 2), "Male"),
        ("Male=true", ForgetAttribute("Male", True), range(0, 30, 2), "Male"),
        ("Male=False", ForgetAttribute("Male", False), range(1, 30, 2), "Male=False"),
        ("Male = false", ForgetAttribute("Male", "False"), range(1, 30, 2), "Male=False"),
        ("shape=heart", ForgetAttribute("shape", "heart"), range(0, 30, 5), "shape=heart"),
        ("indices:0,5,17", ForgetIndices([0, 5, 17]), (0, 5, 17), "3 listed images"),
        ("indices: 29", ForgetIndices(np.array([29])), (29,), "1 listed image"),
    ],
)
def test_text_and_request_pick_the_same_images(source, text, request_, forget, description):
    parsed = split(source.train, parse_request(text, source), source)
    built = split(source.train, request_, source)
    assert parsed.description == description
    for result in (parsed, built):
        assert result.forget.images[:, 0, 0, 0].tolist() == list(forget)
        rest = sorted(set(range(30)) - set(forget))
        assert result.retain.images[:, 0, 0, 0].tolist() == rest
        assert result.retain.attributes["label"].tolist() == [i % 3 for i in rest]


def test_indices_may_come_from_a_file(source, tmp_path):
    file = tmp_path / "withdrawn.txt"
    file.write_text("3\n4, 5\n\n 6\n")
    assert parse_request(f"indices:@{file}", source) == ForgetIndices((3, 4, 5, 6))


def test_a_split_says_how_many_images_each_side_has(source):
    result = split(source.train, ForgetIndices([4]), source)
    assert result.counts == {"forget": 1, "retain": 29}
    assert result.describe() == "forget: 1 image (1 listed image); retain: 29 images"


def test_the_same_request_splits_the_test_images(source):
    assert split(source.test, ForgetClass("1"), source).counts == {"forget": 3, "retain": 6}


def test_indices_retain_every_test_image(source):
    request = ForgetIndices([0, 20])
    assert split(source.test, request, source).counts == {"forget": 0, "retain": 9}
    with pytest.raises(ValueError, match=r"neither source\.train nor source\.test"):
        split(source.train.take(range(25)), request, source)


def test_a_predicate_sees_images_and_attributes(source):
    request = ForgetWhere(
        lambda d: (d.images.max(axis=(1, 2, 3)) > 20) & d.attributes["Male"], "bright men"
    )
    result = split(source.train, request, source)
    assert result.forget.images[:, 0, 0, 0].tolist() == [22, 24, 26, 28]
    assert result.describe().startswith("forget: 4 images (bright men)")
    assert split(source.test, request, source).counts == {"forget": 0, "retain": 9}


def test_requests_of_equal_meaning_are_equal_and_hashable():
    assert {ForgetIndices([1, 2]), ForgetIndices(np.array([1, 2]))} == {ForgetIndices((1, 2))}
    assert {ForgetClass("1"), ForgetClass("1")} == {ForgetClass("1")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", "'2' is no class or attribute of toy.*Classes of label: 1, 3, 8"),
        ("male", "Did you mean 'Male'.*Attributes: label, Male, shape"),
        ("", "'' is no class or attribute"),
        ("shap=heart", "unknown attribute 'shap'. Did you mean 'shape'"),
        ("shape=hart", "unknown class of shape 'hart'. Did you mean 'heart'"),
        ("shape=", "unknown class of shape ''"),
        ("shape", "not a yes-or-no attribute; say which value: shape=square"),
        ("shape=True", "not a yes-or-no attribute"),
        ("Male=maybe", "unknown class of Male 'maybe'. Known: False, True"),
        ("indices:", "list of indices is empty"),
        ("indices:1,x,2.5", "whole numbers such as indices:0,5,17, found 'x', '2.5'"),
        ("indices:-1,3", "must not be negative, found -1"),
        ("indices:4,3,4", "each index once; found twice or more: 4"),
        ("indices:@nowhere.txt", "cannot read the indices in nowhere.txt"),
    ],
)
def test_text_that_means_nothing_is_refused(source, text, message):
    with pytest.raises(ValueError, match=message):
        parse_request(text, source)


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (ForgetClass("2"), ValueError, "unknown class of label '2'"),
        (ForgetClass("1", "colour"), ValueError, "unknown attribute 'colour'"),
        (ForgetAttribute("colour"), ValueError, "unknown attribute 'colour'"),
        (ForgetIndices([3, 30]), ValueError, "index 30 is out of range: train has 30 images, 0 to"),
        (ForgetIndices(range(30)), ValueError, "all 30 images of toy match.*nothing would be"),
        (ForgetWhere(lambda d: d.attributes["label"] > 7, "none"), ValueError, "nothing to forget"),
        (ForgetWhere(lambda d: d.attributes["label"], "numbers"), TypeError, "must return bool"),
        (ForgetWhere(lambda d: np.array(True), "one"), TypeError, r"shape \(\)"),
        ("1", TypeError, r"found str. From text: parse_request\(text, source\)"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(source, request_, error, message):
    with pytest.raises(error, match=message):
        split(source.train, request_, source)


@pytest.mark.parametrize("indices", [[0.5], [[1, 2]], [True, False], "12"])
def test_indices_must_be_a_flat_list_of_whole_numbers(indices):
    with pytest.raises(TypeError, match="indices must be a flat list of whole numbers"):
        ForgetIndices(indices)
