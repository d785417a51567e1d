"""Requests by the names of files: which images they pick, and what they refuse to guess."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsu_jax.data import Dataset, ForgetFiles, ForgetIndices, Source, parse_request

TRAIN = ["Bag/1.png", "Bag/2.png", "Coat/1.png", "Coat/sub/3.png", "Coat/a, b.png", "twin", "twin"]
TEST = ["Bag/7.png", "Coat/2.png"]


def source_of(train, test, name="photos"):
    def dataset(names):
        n = len(names)
        return Dataset(
            np.zeros((n, 2, 2, 1), np.uint8),
            {"label": np.arange(n) % 2},
            np.array(names, dtype=str),
        )

    return Source(name, dataset(train), dataset(test), {"label": ("Bag", "Coat")}, "label")


@pytest.fixture(scope="module")
def photos():
    return source_of(TRAIN, TEST)


@pytest.mark.parametrize(
    ("names", "positions"),
    [
        (["Bag/1.png"], (0,)),
        (["Coat/1.png", "Bag/1.png"], (0, 2)),
        (["3.png"], (3,)),
        (["sub/3.png"], (3,)),
        (["./Bag/2.png"], (1,)),
        (["photos/Bag/2.png", "/home/me/photos/Coat/sub/3.png"], (1, 3)),
        (["a, b.png"], (4,)),
        (["twin"], (5, 6)),
    ],
)
def test_a_name_or_its_end_picks_the_image(photos, names, positions):
    request = ForgetFiles(names)
    assert request.indices(photos) == positions
    train, test = request.split(photos)
    np.testing.assert_array_equal(np.flatnonzero(train.mask), positions)
    assert test.counts["forget"] == 0
    same = ForgetIndices(positions).split(photos).train
    assert train.describe() == same.describe()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["Bag/12.png"], "'Bag/12.png'. Did you mean .*'Bag/1.png'"),
        (["bag/1.png"], "'bag/1.png'. Did you mean 'Bag/1.png'"),
        (["4.png", "5.png"], "no image '4.png', '5.png'.*such as 'Bag/1.png'"),
        (["1.png"], "'1.png' is the end of 2 names: 'Bag/1.png', 'Coat/1.png'"),
        (["2.png"], "'2.png' is the end of 2 names: 'Bag/2.png', 'Coat/2.png'"),
        (["elsewhere/Bag/1.png"], "'elsewhere/Bag/1.png'"),
        (["ag/1.png"], "'ag/1.png'"),
        (["Bag/7.png"], "'Bag/7.png' is among the 2 test images.*: Bag/7.png, Coat/2.png"),
        (["7.png", "Coat/2.png"], "'7.png', 'Coat/2.png' are among the 2 test images"),
    ],
)
def test_a_name_of_no_training_image_or_of_several_is_refused(photos, names, message):
    with pytest.raises(ValueError, match=message):
        ForgetFiles(names).split(photos)


@pytest.mark.parametrize("names", [[], [""], ["a", "a"]])
def test_names_are_at_least_one_and_differ(names):
    with pytest.raises(ValueError, match="names must"):
        ForgetFiles(names)


def test_images_without_names_need_indices():
    data = Dataset(np.zeros((4, 2, 2, 1), np.uint8), {"label": np.arange(4) % 2})
    plain = Source("plain", data, data, {"label": ("a", "b")}, "label")
    with pytest.raises(ValueError, match=r"plain have no names.*indices:"):
        ForgetFiles(["a.png"]).split(plain)


def test_text_names_files_and_lists_of_files(photos, tmp_path):
    file = tmp_path / "withdrawn.txt"
    file.write_bytes("\ufeffCoat/a, b.png\r\n\r\n  Bag/2.png \n".encode())
    assert parse_request(f"files:@{file}", photos) == ForgetFiles(["Coat/a, b.png", "Bag/2.png"])
    mixed = parse_request(f"files: 3.png, @{file},Bag/1.png", photos)
    assert mixed.indices(photos) == (0, 1, 3, 4)
    assert mixed == ForgetFiles(["3.png", "Coat/a, b.png", "Bag/2.png", "Bag/1.png"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files:", "names must"),
        ("files:9.png", "no image '9.png'"),
        ("files:@nowhere.txt", "nowhere.txt"),
        ("files:@{empty}", "the list .*empty.txt is empty"),
        ("files:3.png,@{empty}", "the list .*empty.txt is empty"),
        ("indices:@{empty}", "the list .*empty.txt is empty"),
        ("nothing", "files:Bag/1.png"),
    ],
)
def test_meaningless_text_is_refused(photos, tmp_path, text, message):
    (tmp_path / "empty.txt").write_text("\ufeff\n \n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        parse_request(text.format(empty=tmp_path / "empty.txt"), photos)


paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(paths, min_size=2, max_size=8), st.data())
def test_an_end_is_taken_only_if_one_name_has_it(train, data):
    source = source_of(train, ["z"], name="root")
    given_name = data.draw(paths)
    exact = [i for i, name in enumerate(train) if name == given_name]
    ends = {name for name in train if name.endswith("/" + given_name)}
    wanted = exact or [i for i, name in enumerate(train) if name in ends]
    if wanted and (exact or len(ends) == 1):
        assert ForgetFiles([given_name]).indices(source) == tuple(wanted)
    else:
        with pytest.raises(ValueError, match="forget"):
            ForgetFiles([given_name]).indices(source)
