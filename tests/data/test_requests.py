"""Requests: what `--forget` means, which images each side has, what is refused."""

from functools import reduce
from operator import or_

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsu_jax.data import (
    Dataset,
    ForgetAttribute,
    ForgetClass,
    ForgetClasses,
    ForgetFiles,
    ForgetIndices,
    ForgetWhere,
    Source,
    parse_request,
)


def dataset(n):
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
    return Source("toy", dataset(30), dataset(9), classes, "label")


@pytest.mark.parametrize(
    ("text", "request_", "forget", "description"),
    [
        ("1", ForgetClass("1"), range(0, 30, 3), "class 1"),
        (" 8 ", ForgetClass(8), range(2, 30, 3), "class 8"),
        (
            "1,8",
            ForgetClass("1") | ForgetClass("8"),
            [i for i in range(30) if i % 3 != 1],
            "classes 1, 8",
        ),
        (" 8 , 1 ", ForgetClasses([8, 1]), [i for i in range(30) if i % 3 != 1], "classes 8, 1"),
        (
            "label=3,1",
            ForgetClasses(["3", "1"], "label"),
            [i for i in range(30) if i % 3 < 2],
            "classes 3, 1",
        ),
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
    parsed = parse_request(text, source).split(source).train
    built = request_.split(source).train
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


def test_a_file_may_stand_between_other_indices(source, tmp_path):
    file = tmp_path / "a,b.txt"
    file.write_text("3 4")
    assert parse_request(f"indices:@{file}", source) == ForgetIndices((3, 4)), "comma in its name"
    file = file.rename(tmp_path / "withdrawn.txt")
    assert parse_request(f"indices:9,@{file},1", source) == ForgetIndices((9, 3, 4, 1))


@pytest.mark.parametrize(
    "request_",
    [
        ForgetClass("8"),
        ForgetClass(3, "label"),
        ForgetClasses(["1", "8"]),
        ForgetAttribute("Male", False),
        ForgetAttribute("shape", "heart"),
    ],
)
def test_a_request_for_classes_says_which_numbers_it_forgets(source, request_):
    attribute, numbers = request_.target(source)
    for split, dataset in zip(request_.split(source), (source.train, source.test), strict=True):
        np.testing.assert_array_equal(split.mask, np.isin(dataset.attributes[attribute], numbers))
        assert set(split.forget.attributes[attribute].tolist()) == set(numbers)


@given(st.sets(st.sampled_from(("1", "3", "8")), min_size=1, max_size=2))
def test_joined_classes_forget_what_each_of_them_forgets(source, names):
    joined = reduce(or_, map(ForgetClass, sorted(names)))
    each = np.any([ForgetClass(name).masks(source)[0] for name in names], axis=0)
    np.testing.assert_array_equal(joined.split(source).train.mask, each)
    assert joined | joined == ForgetClasses(sorted(names)), "a class is listed once"


def test_a_class_whose_name_has_a_comma_is_that_class():
    data = Dataset(np.zeros((4, 2, 2, 1), np.uint8), {"label": np.arange(4)})
    named = Source("toy", data, data, {"label": ("a", "b", "a,b", "c")}, "label")
    assert parse_request("a,b", named) == ForgetClass("a,b")
    assert parse_request("a,c", named) == ForgetClasses(["a", "c"])
    assert parse_request("label=a,b", named) == ForgetAttribute("label", "a,b")


def test_classes_of_several_attributes_cannot_be_joined():
    with pytest.raises(ValueError, match="one attribute, got None and 'shape'"):
        ForgetClass("1") | ForgetClass("heart", "shape")
    with pytest.raises(TypeError, match=r"ForgetClass.*ForgetIndices"):
        ForgetClass("1") | ForgetIndices([1])


def test_a_request_for_one_class_is_written_as_before():
    assert repr(ForgetClass("1")) == "ForgetClass(value='1', attribute=None)"
    assert repr(ForgetAttribute("Male")) == "ForgetAttribute(name='Male', value=True)"


def test_a_split_counts_the_images_of_each_side(source):
    train = ForgetIndices([4]).split(source).train
    assert train.counts == {"forget": 1, "retain": 29}
    assert train.describe() == "forget: 1 image (1 listed image); retain: 29 images"


def test_one_request_splits_training_and_test_images(source):
    assert ForgetClass("1").split(source).test.counts == {"forget": 3, "retain": 6}


def test_indices_retain_every_test_image(source):
    assert ForgetIndices([0, 20]).split(source).test.counts == {"forget": 0, "retain": 9}


def test_a_predicate_sees_images_and_attributes(source):
    train, test = ForgetWhere(
        lambda d: (d.images.max(axis=(1, 2, 3)) > 20) & d.attributes["Male"], "bright men"
    ).split(source)
    assert train.forget.images[:, 0, 0, 0].tolist() == [22, 24, 26, 28]
    assert train.describe().startswith("forget: 4 images (bright men)")
    assert test.counts == {"forget": 0, "retain": 9}


def test_requests_of_equal_meaning_are_equal_and_hashable():
    assert {ForgetIndices([1, 2]), ForgetIndices(np.array([1, 2]))} == {ForgetIndices((1, 2))}
    assert {ForgetClass("1"), ForgetClass("1")} == {ForgetClass("1")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", "'2'.*Classes of label: 1, 3, 8"),
        ("male", "Did you mean 'Male'.*Attributes: label, Male, shape"),
        ("", "forget: ''"),
        ("shap=heart", "'shap'. Did you mean 'shape'"),
        ("shape=hart", "'hart'. Did you mean 'heart'"),
        ("shape=", "''.*square, heart"),
        ("shape", "shape=square"),
        ("shape=True", "shape=square"),
        ("Male=maybe", "'maybe'.*False, True"),
        ("1,2", "'2'.*Classes of label: 1, 3, 8"),
        ("1,", "forget: ''"),
        ("1,1", "values.*each once"),
        ("1,Male", "'1,Male' is no class or attribute"),
        ("shape=heart,hart", "'hart'. Did you mean 'heart'"),
        ("indices:", "indices is empty"),
        ("indices:1,x,2.5", "got 'x', '2.5'.*files:"),
        ("files:a.png", "toy have no names.*indices:"),
        ("indices:-1,3", "indices.*got -1"),
        ("indices:4,3,4", "indices.*: 4$"),
        ("indices:@nowhere.txt", "nowhere.txt"),
    ],
)
def test_meaningless_text_is_refused(source, text, message):
    with pytest.raises(ValueError, match=message):
        parse_request(text, source)


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (ForgetClass("2"), ValueError, "class of label '2'"),
        (ForgetClass("1", "color"), ValueError, "attribute 'color'"),
        (ForgetAttribute("color"), ValueError, "attribute 'color'"),
        (ForgetIndices([3, 30]), ValueError, "indices must be below 30.*got 30"),
        (ForgetIndices(range(30)), ValueError, "nothing to retain"),
        (ForgetWhere(lambda d: d.attributes["label"] > 7, "none"), ValueError, "nothing to forget"),
        (ForgetWhere(lambda d: d.attributes["label"], "numbers"), TypeError, "'numbers'.*got int"),
        (ForgetWhere(lambda d: np.array(True), "one"), TypeError, r"'one'.*got bool of shape \(\)"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(source, request_, error, message):
    with pytest.raises(error, match=message):
        request_.split(source)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ForgetClass(["1", "3"]), r"class.*got \['1', '3'\].*ForgetClasses"),
        (lambda: ForgetClass(None), "class.*got None"),
        (lambda: ForgetClasses("13"), "values.*got '13'"),
        (lambda: ForgetClasses(3), "values.*got 3"),
        (lambda: ForgetClasses([["1"]]), r"class.*got \['1'\]"),
        (lambda: ForgetIndices(3), "indices.*got 3"),
        (lambda: ForgetIndices(["a.png"]), r"indices.*got \['a.png'\].*ForgetFiles"),
        (lambda: ForgetFiles("a.png"), "names.*got 'a.png'"),
        (lambda: ForgetFiles([1]), "names.*got 1.*ForgetIndices"),
        (lambda: ForgetWhere(np.zeros(3, bool), "dark"), "predicate.*got ndarray.*flatnonzero"),
    ],
)
def test_a_request_of_the_wrong_type_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_only_text_is_parsed_and_only_a_source_is_split(source):
    with pytest.raises(TypeError, match=r"forget.*got ForgetClass\(value='1'"):
        parse_request(ForgetClass("1"), source)
    with pytest.raises(TypeError, match=r"source must be a Source.*got Dataset"):
        ForgetClass("1").split(source.train)


@pytest.mark.parametrize("indices", [[0.5], [[1, 2]], [True, False], "12"])
def test_indices_must_be_a_flat_list_of_integers(indices):
    with pytest.raises(TypeError, match=r"indices.*got"):
        ForgetIndices(indices)
