"""The file of a removal request: what it says, and what is refused."""

import datetime

import numpy as np
import pytest
from PIL import Image
from removal_page import check_message, messages

from gsu_jax.data import (
    ForgetAttribute,
    ForgetClass,
    ForgetClasses,
    ForgetFiles,
    ForgetIndices,
    load,
)
from gsu_jax.removal import CommitmentKey, read_request

TODAY = datetime.date(2026, 11, 30)
GIVEN = {
    "request": '"2026-014"',
    "claim": '"rows"',
    "what": "{ ids = [3, 14, 159] }",
    "data": '"digits"',
    "model": '"my_models.vaes:faces"',
    "checkpoint": '"weights"',
    "method": '"redirect_flow"',
    "utility_budget": "0.02",
    "deadline": "2026-12-30",
}


@pytest.fixture
def write(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "empty").mkdir()

    def write(**changed):
        given = {name: value for name, value in (GIVEN | changed).items() if value is not None}
        path = tmp_path / "request.toml"
        path.write_text("".join(f"{name} = {value}\n" for name, value in given.items()))
        return path

    return write


def test_request_says_what_its_file_says(write, tmp_path):
    request = read_request(write(), today=TODAY)
    assert (request.request, request.claim, request.what) == ("2026-014", "rows", "ids")
    assert request.forget == ForgetIndices([3, 14, 159])
    assert request.checkpoint == tmp_path / "weights"
    assert (request.data, request.model) == ("digits", "my_models.vaes:faces")
    assert (request.method, request.utility_budget) == ("redirect_flow", 0.02)
    assert request.deadline == datetime.date(2026, 12, 30)


def test_data_is_a_data_set_or_a_path_beside_the_file(write, tmp_path, monkeypatch):
    for name in ("digits", "photos", "mnist"):
        (tmp_path / name).mkdir()
    (tmp_path / "prepared" / "mnist").mkdir(parents=True)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))

    def data(name):
        return read_request(write(data=f'"{name}"'), today=TODAY).data

    assert data("digits") == "digits"  # as `load` takes it, though a folder has that name
    assert data("mnist") == "mnist"
    assert data("photos") == str(tmp_path / "photos")
    assert data("./mnist") == str(tmp_path / "mnist")


def test_short_file_has_defaults_and_a_number_drawn_by_lot(write):
    path = write(request=None, method=None, utility_budget=None, deadline=None)
    one, other = read_request(path), read_request(path)
    assert (one.method, one.utility_budget, one.deadline) == ("auto", 0.01, None)
    assert one.learning_rate is None
    assert read_request(write(learning_rate="3e-3")).learning_rate == 3e-3
    assert one.request != other.request


@pytest.mark.parametrize(
    ("claim", "what", "expected"),
    [
        ("rows", '{ class = "1" }', ForgetClass("1")),
        ("class", '{ class = ["1", "3"] }', ForgetClasses(["1", "3"])),
        ("concept", '{ attribute = "Male" }', ForgetAttribute("Male", True)),
        ("concept", '{ attribute = "shape = heart" }', ForgetAttribute("shape", "heart")),
        ("rows", '{ ids = ["a.png"] }', ForgetFiles(["a.png"])),
    ],
)
def test_what_is_a_request_of_the_data(write, claim, what, expected):
    assert read_request(write(claim=f'"{claim}"', what=what), today=TODAY).forget == expected


def test_folder_is_matched_by_content(write, tmp_path):
    digits = load("digits")
    (tmp_path / "handed_in").mkdir()
    picture = np.rint(digits.train.images[14].squeeze() * 255).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "handed_in" / "me.png")
    request = read_request(write(what='{ folder = "handed_in" }'), today=TODAY)
    train, _ = request.forget.split(digits)
    assert train.mask[14]


def test_what_it_names_is_in_no_print_and_no_event(write, office):
    request = read_request(write(what='{ ids = ["jane_doe.png"] }'), today=TODAY)
    key = office.keys.create(request.request)
    event = office.append("received", request.request, request.received(key))
    assert "jane_doe" not in repr(request) + str(event.statement) + event.envelope
    assert event.predicate["commitments"] == CommitmentKey.commit(key, ["jane_doe.png"], "ids")


BAD = [
    ({"claim": None}, ["claim is missing", "checkpoint"]),
    ({"what": None}, ["what is missing"]),
    ({"model": None}, ["model is missing"]),
    ({"clam": '"rows"'}, ["clam", "'claim'"]),
    ({"claim": '"row"'}, ["claim", "'row'", "'rows'"]),
    ({"claim": "1"}, ["claim", "got 1"]),
    ({"claim": '"class"'}, ["claim", '"rows" for what.ids', "'class'"]),
    ({"claim": '"concept"', "what": '{ folder = "weights" }'}, ["what.folder", "no image"]),
    ({"what": '"1"'}, ["what must have one of", "'1'"]),
    ({"what": "{}"}, ["what must have one of", "got 0"]),
    ({"what": '{ class = "1", ids = [1] }'}, ["what must have one of", "got 2"]),
    ({"what": '{ clas = "1" }'}, ["what.clas", "'class'"]),
    ({"what": "{ class = 1 }"}, ["what.class", "quotes", "got 1"]),
    ({"what": '{ class = "" }'}, ["what.class", "''"]),
    ({"what": "{ class = [] }"}, ["what.class", "empty"]),
    ({"what": '{ attribute = "Male=" }'}, ["what.attribute", "'Male='"]),
    ({"what": "{ ids = [] }"}, ["what.ids", "[]"]),
    ({"what": "{ ids = 5 }"}, ["what.ids", "list", "got 5"]),
    ({"what": '{ ids = [5, "a.png"] }'}, ["what.ids", "all positions or all names"]),
    ({"what": "{ ids = [true] }"}, ["what.ids", "True"]),
    ({"what": "{ ids = [5, 5] }"}, ["what.ids", "twice: 5"]),
    ({"what": "{ ids = [-1] }"}, ["what.ids", "-1"]),
    ({"what": '{ ids = [""] }'}, ["what.ids", "''"]),
    ({"what": '{ folder = "nowhere" }'}, ["what.folder", "nowhere"]),
    ({"what": '{ folder = "empty" }'}, ["what.folder", "no image"]),
    ({"data": "5"}, ["data", "quotes", "got 5"]),
    ({"model": '"faces"'}, ["model", "MODULE:FUNCTION", "'faces'"]),
    ({"model": '"models:faces()"'}, ["model", "'models:faces()'"]),
    ({"checkpoint": '"gone"'}, ["checkpoint", "gone"]),
    ({"checkpoint": '"request.toml"'}, ["checkpoint", "folder", "request.toml"]),
    ({"method": '"redirect_flw"'}, ["method", "'redirect_flow'", "auto"]),
    ({"method": '"before"'}, ["method", "'before'"]),
    ({"utility_budget": "0"}, ["utility_budget", "above 0", "got 0"]),
    ({"utility_budget": "1.5"}, ["utility_budget", "at most 1", "1.5"]),
    ({"utility_budget": "nan"}, ["utility_budget", "nan"]),
    ({"utility_budget": "true"}, ["utility_budget", "True"]),
    ({"utility_budget": '"1 %"'}, ["utility_budget", "'1 %'"]),
    ({"learning_rate": "0"}, ["learning_rate", "above 0", "got 0"]),
    ({"deadline": '"2026-12-30"'}, ["deadline", "without quotes", "'2026-12-30'"]),
    ({"deadline": "2026-12-30T09:00:00"}, ["deadline", "a day"]),
    ({"deadline": "2026-11-29"}, ["deadline", "2026-11-29", "2026-11-30"]),
    ({"request": "14"}, ["request", "quotes", "got 14"]),
    ({"request": '"Jane Doe"'}, ["request", "names nobody", "'Jane Doe'"]),
    ({"claim": "rows"}, ["no TOML", "line 2"]),
]


@pytest.mark.parametrize(("changed", "parts"), BAD, ids=[str(changed) for changed, _ in BAD])
def test_bad_input_is_named_in_one_sentence(write, changed, parts):
    path = write(**changed)
    with pytest.raises(ValueError, match=r"request\.toml") as error:
        read_request(path, today=TODAY)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    check_message("Bad request files", _shown(changed), str(error.value), path.parent)


def _shown(changed):
    """What a file of the tests has in another way, as the page shows it."""
    keys = [f"no {n}" if v is None else f"{n} = {v}" for n, v in changed.items()]
    return ", ".join(keys)


def test_page_has_each_bad_request_file_of_these_tests_and_no_other():
    assert messages("Bad request files").keys() == {_shown(changed) for changed, _ in BAD}


def test_file_that_is_missing_or_no_text_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.toml"):
        read_request(tmp_path / "nothing.toml")
    (tmp_path / "request.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"request\.toml is no TOML"):
        read_request(tmp_path / "request.toml")
    with pytest.raises(ValueError, match="no TOML"):
        read_request(tmp_path)
