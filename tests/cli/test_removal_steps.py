"""`gsu-jax removal plan | run | verify | ...`: what is printed, and one line for each mistake."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image
from removal_desk import NUMBER, Desk, weights
from removal_page import check_message, messages
from removal_series import SeriesDesk, closed_form, digit, worsen

from gsu_jax.data import load
from gsu_jax.removal import Ledger, load_key
from gsu_jax.removal.service import run
from gsu_jax.storage import remove, save


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def planned_desk(tmp_path_factory):
    desk = Desk(tmp_path_factory.mktemp("planned"))
    desk.plan()
    return desk


@pytest.fixture(scope="module")
def run_desk(planned_desk, tmp_path_factory):
    desk = planned_desk.copy(tmp_path_factory.mktemp("run") / "desk")
    run(desk.case())
    return desk


@pytest.fixture
def planned(planned_desk, tmp_path):
    return planned_desk.copy(tmp_path / "desk")


@pytest.fixture
def ran(run_desk, tmp_path):
    return run_desk.copy(tmp_path / "desk")


@pytest.mark.long
def test_request_goes_from_plan_to_receipt(say, tmp_path):
    desk = Desk(tmp_path / "desk")
    where = ("--folder", desk.home)
    status, printed, _ = say("plan", desk.file, *where, "--project", "faces")
    assert status == 0
    assert "forget 146 training images, retain 1,292" in printed
    assert printed.splitlines()[-1].endswith(f"gsu-jax removal run {NUMBER}")
    status, printed, _ = say("run", NUMBER, *where)
    assert (status, printed.splitlines()[1][:10]) == (0, "published:")
    assert say("run", NUMBER, *where, "--replay")[0] == 0
    status, printed, _ = say("verify", NUMBER, *where, "--samples", 200)
    assert status in (0, 1)
    assert printed.splitlines()[-1].startswith("verdict: ")
    assert say("report", NUMBER, *where)[1].strip().endswith("report.html")
    assert "Last step: verified" in (desk.home / "cases" / NUMBER / "report.html").read_text()
    assert say("release", NUMBER, *where, "--although-failed")[0] == 0
    assert say("undo", NUMBER, *where, "--reason", "a test")[1].startswith("current: ")
    assert say("purge", NUMBER, *where)[1].startswith("purged: pictures")
    assert say("purge", NUMBER, *where)[1] == "nothing was left to purge\n"
    status, printed, _ = say("close", NUMBER, *where)
    assert (status, printed.splitlines()[1][:9]) == (0, "receipt: ")
    ledger = desk.home / "ledger.sqlite"
    head = printed.splitlines()[1].split()[1]
    assert say("ledger", "verify", ledger, "--keys", desk.home / "keys", "--head", head)[0] == 0


def test_run_over_budget_ends_with_status_1(say, tmp_path):
    desk = Desk(tmp_path / "desk")
    desk.plan(utility_budget="0.0001")
    status, printed, errors = say("run", NUMBER, "--folder", desk.home)
    assert (status, errors) == (1, "")
    assert "over budget: nothing was published" in printed


def edit(desk, **changed):
    path = desk.case().facts_path
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


PLANS = {  # changed keys of the request file -> what the line must say
    "unknown claim": ({"claim": '"person"'}, "claim must be one of"),
    "claim that does not fit": ({"what": "{ ids = [3] }"}, 'claim must be "rows"'),
    "ids not in the data": ({"claim": '"rows"', "what": "{ ids = [99999] }"}, "below 1,438"),
    "names in data without": ({"claim": '"rows"', "what": '{ ids = ["a.png"] }'}, "no names"),
    "empty folder": ({"claim": '"rows"', "what": '{ folder = "handed_in" }'}, "handed_in"),
    "folder of other images": (
        {"claim": '"rows"', "what": '{ folder = "others" }'},
        "others equal no training image of digits: black.png, white.png.",
    ),
    "unknown class": ({"what": '{ class = "cat" }'}, "cat"),
    "unknown attribute": ({"what": '{ attribute = "smile" }'}, "smile"),
    "unknown data": ({"data": '"digitz"'}, "digitz"),
    "unknown method": ({"method": '"redirect_flo"'}, "Did you mean 'redirect_flow'"),
    "method the model cannot do": ({"method": '"redirect_diffusion"'}, "denoise"),
    "no module": ({"model": '"no_such_module:faces"'}, "no_such_module"),
    "no function": ({"model": '"desk_models:gan"'}, "has no function gan"),
    "no model": ({"model": '"desk_models:no_model"'}, "must return a GenerativeModel, got str"),
    "model that fails": ({"model": '"desk_models:broken"'}, "the weights are at home"),
    "no checkpoint": ({"checkpoint": '"no_weights"'}, "no_weights"),
    "empty checkpoint": ({"checkpoint": '"handed_in"'}, "handed_in"),
    "budget of nothing": ({"utility_budget": "0"}, "utility_budget"),
    "drift budget of nothing": ({"drift_budget": "0"}, "drift_budget"),
    "deadline passed": ({"deadline": "2020-01-01"}, "deadline must not have passed"),
    "unknown key": ({"epoch": "3"}, "epoch is no key"),
    "epochs in words": ({"epochs": '"three"'}, "epochs must be a whole number"),
    "training of nothing": ({"train": "{ learning_rate = 1e-3 }"}, "train must have epochs or"),
    "no training function": ({"train": '{ function = "desk_models:teach" }'}, "no function teach"),
    "number that is a path": ({"request": '"../../etc"'}, "request must be a number"),
}


def hand_in(folder, **images):
    folder.mkdir()
    for name, image in images.items():
        pixels = np.uint8(np.rint(255 * image)).reshape(8, 8)
        Image.fromarray(pixels).save(folder / f"{name}.png")


@pytest.mark.parametrize("mistake", PLANS)
def test_mistake_in_a_request_is_one_line_and_changes_nothing(say, tmp_path, mistake):
    desk = Desk(tmp_path / "desk")
    (desk.folder / "handed_in").mkdir()
    known = load("digits").train.images[3]
    hand_in(desk.folder / "others", white=np.ones((8, 8)), known=known, black=np.zeros((8, 8)))
    changed, said = PLANS[mistake]
    desk.write(**changed)
    check(say, desk, mistake, ("plan", desk.file), said)


def check(say, desk, mistake, words, said):
    """One line on standard error, status 2, and every file as before."""
    before, paths = desk.snapshot(), desk.paths
    status, printed, errors = say(*words, "--folder", desk.home)
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert said in errors
    assert (desk.snapshot(), desk.paths) == (before, paths)
    check_message("Bad commands", mistake, errors, desk.folder)


def no_keys(desk):
    shutil.rmtree(desk.home / "keys")


def no_verifier(desk):
    (desk.home / "keys" / "verifier.key").unlink()


def wrong_key(desk):
    keys = desk.home / "keys"
    (keys / "verifier.key").write_text((keys / "verifier.pub").read_text())


def other_weights(desk):
    save(desk.base, {name: leaf + 1 for name, leaf in weights().items()})


def other_tree(desk):
    remove(desk.base)
    save(desk.base, {"kernel": np.zeros(3)})


def gone_weights(desk):
    remove(desk.base)


def stranger_in_place(desk):
    (desk.folder / f"weights-{NUMBER}").mkdir()
    (desk.folder / f"weights-{NUMBER}" / "notes.txt").write_text("mine")


def changed_facts(desk):
    edit(desk, fingerprint="0" * 16)


def spoiled_ledger(desk):
    (desk.home / "ledger.sqlite").write_bytes(b"not a ledger" * 100)


def no_ledger(desk):
    (desk.home / "ledger.sqlite").unlink()


def spoiled_facts(desk):
    desk.case().facts_path.write_text("{")


def empty_ledger(desk):
    (desk.home / "ledger.sqlite").write_bytes(b"")


def clock_ahead(desk):
    ahead = datetime.now(UTC) + timedelta(days=1)
    ledger = Ledger(desk.home / "ledger.sqlite", clock=lambda: ahead)
    ledger.append("received", "2026-999", load_key(desk.home / "keys", "operator"))


def other_list(desk):
    path = desk.home / "cases" / NUMBER / "private.json"
    private = json.loads(path.read_text())
    path.write_text(json.dumps(private | {"positions": [3, 14]}))


def broken_pointer(desk):
    (desk.home / "current.json").write_text("{")


def lost_secret(desk):
    (desk.home / "secrets" / f"{NUMBER}.secret").unlink()


def nothing(desk):
    pass


PLANNED = {  # what was done to a planned request -> the command, and what its line must say
    "no keys": (no_keys, ("run", NUMBER), "init-keys"),
    "other weights deployed": (other_weights, ("run", NUMBER), "is not the one"),
    "checkpoint of another model": (other_tree, ("run", NUMBER), "has no leaf"),
    "checkpoint gone": (gone_weights, ("run", NUMBER), "weights is empty or does not exist"),
    "something in its place": (stranger_in_place, ("run", NUMBER), "is no checkpoint"),
    "facts changed": (changed_facts, ("run", NUMBER), "case.json was changed"),
    "damaged ledger": (spoiled_ledger, ("run", NUMBER), "ledger"),
    "no ledger": (no_ledger, ("run", NUMBER), "there is no ledger"),
    "empty ledger": (empty_ledger, ("run", NUMBER), "has no table of events"),
    "clock set back": (clock_ahead, ("run", NUMBER), "set the clock right"),
    "damaged case": (spoiled_facts, ("run", NUMBER), "plan the request again"),
    "list changed": (other_list, ("run", NUMBER), "does not list the images of the ledger"),
    "secret lost": (lost_secret, ("plan", "request.toml"), "the secret of request"),
    "secret lost before the run": (lost_secret, ("run", NUMBER), "has no key"),
    "never planned": (nothing, ("run", "2026-099"), "is not planned"),
    "no number": (nothing, ("run", "../x"), "request must be a number"),
    "verified too soon": (nothing, ("verify", NUMBER), "must be 'ran'"),
    "released too soon": (nothing, ("release", NUMBER), "must be 'verified'"),
    "undone too soon": (nothing, ("undo", NUMBER), "must be 'ran'"),
    "closed too soon": (nothing, ("close", NUMBER), "must be 'released'"),
    "old one purged in use": (nothing, ("purge", NUMBER, "--original"), "in use until"),
    "series too soon": (nothing, ("series", NUMBER), "must be 'ran'"),
    "series of nothing released": (nothing, ("series",), "give NUMBER"),
    "other project": (nothing, ("plan", "request.toml", "--project", "voices"), "belongs to"),
    "unknown option": (nothing, ("run", NUMBER, "--replai"), "--replai"),
}


RAN = {
    "no verifier": (no_verifier, ("verify", NUMBER), "verifier.key"),
    "wrong key": (wrong_key, ("verify", NUMBER), "is no private key"),
    "unknown tier": (nothing, ("verify", NUMBER, "--tier", "7"), "tier must be 0, 1 or 2"),
    "two models": (nothing, ("verify", NUMBER, "--tier", "1", "--models", "2"), "models"),
    "no samples": (nothing, ("verify", NUMBER, "--samples", "5"), "samples"),
    "series unsigned": (no_verifier, ("series", NUMBER), "verifier.key"),
    "series of no samples": (nothing, ("series", NUMBER, "--samples", "5"), "samples"),
    "series of -1 models": (nothing, ("series", NUMBER, "--models", "-1"), "models"),
    "union of one": (nothing, ("series", NUMBER, "--union"), "the only one of its series"),
    "planned again": (nothing, ("plan", "request.toml"), "its last step is 'ran'"),
    "not verified": (nothing, ("release", NUMBER), "must be 'verified'"),
    "broken pointer": (broken_pointer, ("undo", NUMBER), "release the last request once more"),
}


LATER = [("planned", mistake) for mistake in PLANNED] + [("ran", mistake) for mistake in RAN]


@pytest.mark.parametrize(("after", "mistake"), LATER)
def test_mistake_after_a_step_is_one_line_and_changes_nothing(
    request, say, monkeypatch, after, mistake
):
    desk = request.getfixturevalue(after)
    spoil_it, words, said = {"planned": PLANNED, "ran": RAN}[after][mistake]
    spoil_it(desk)
    monkeypatch.chdir(desk.folder)
    check(say, desk, mistake, words, said)


SPENT = "drift budget spent"


def test_spent_drift_budget_of_a_series_is_one_line_and_changes_nothing(say, tmp_path):
    with closed_form():
        desk = SeriesDesk(tmp_path / "desk")
        desk.answer(worsen, **digit("1"))
        given = {"request": '"r-2"', "checkpoint": '"weights-r-1"', "drift_budget": "0.001"}
        file = desk.write(**digit("2"), **given)
        check(say, desk, SPENT, ("plan", file), "drift_budget is spent: ")


def test_page_has_each_mistake_of_these_tests_and_no_other():
    mistakes = [*PLANS, *PLANNED, *RAN, SPENT]
    assert len(set(mistakes)) == len(mistakes) >= 40
    assert messages("Bad commands").keys() == set(mistakes)
