"""`run_arena`: the same trials for every method, then one run on closed requests."""

import json
import shutil

import jax
import pytest
import tiny_study

from gsu_jax import GradientAscent, UnlearningResult
from gsu_jax.data import load
from gsu_jax.metrics import METRICS
from gsu_jax.study import SPACES, Recipe, _arena, _arena_choice, _judge, _study, run_arena

# Untrained networks will do, and compile less.
pytestmark = pytest.mark.long

UNTRAINED = {"pretraining": Recipe(epochs=0), "judging": Recipe(epochs=0), "judge_gate": 0.0}
ASKED = {
    "tuning": ["0", "1"],
    "closed": ["4"],
    "methods": ["gradient_ascent", "gradient_surgery"],
    "trials": 3,
    "seeds": 2,
}


def shrunk(model, params, forget, retain, *, method, key, epochs, mesh):
    """In place of `unlearn`: a larger rate moves the parameters more."""
    factor = 1 - method.learning_rate
    return UnlearningResult(jax.tree.map(lambda x: factor * x, params), {}, 1.0, 0.0, 1, False)


def judged(model, params, *arguments, **options):
    """In place of `evaluate`: every figure is the size of the parameters."""
    size = float(sum(abs(leaf).sum() for leaf in jax.tree.leaves(params)))
    return dict.fromkeys(METRICS, size) | {"diverged": False}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A judge of one layer, no pictures, a report without plots, no unlearning and no samples."""
    with tiny_study.quick_judge(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_study, "write_report", lambda path, *arguments, **options: path.touch())
        patch.setattr(_study, "save_picture", lambda *arguments: None)
        patch.setattr(_study, "has_picture", lambda path: True)
        patch.setattr(_study, "unlearn", shrunk)
        patch.setattr(_judge, "evaluate", judged)
        yield


def arena_config(**changes):
    return tiny_study.tiny_config(experiment="arena", ensemble=2, **UNTRAINED | changes)


def run(out, **changes):
    return run_arena(arena_config(), load("digits"), out, **ASKED | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished arena: its folder and what `run_arena` returned."""
    out = tmp_path_factory.mktemp("arena") / "out"
    return out, run(out)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


def rows(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def test_every_method_has_the_same_trials_on_every_tuning_request(finished):
    out, _ = finished
    for request in ASKED["tuning"]:
        for method in ASKED["methods"]:
            found = [(r["method"], r["seed"]) for r in rows(out / "tuning" / request / method)]
            assert found == [(f"{method}-trial-{i:02d}", 0) for i in range(3)]


def test_no_checkpoint_of_a_trial_is_kept_and_those_of_closed_runs_are(finished):
    out, _ = finished
    assert [*(out / "tuning" / "0" / "gradient_ascent" / "checkpoints").iterdir()] == []
    kept = {path.name for path in (out / "closed" / "4" / "checkpoints").iterdir()}
    assert {"before-1", "retrain-1", "gradient_ascent-1", "gradient_surgery-0"} <= kept


def test_chosen_setting_has_the_lowest_mean_objective_over_tuning_requests(finished):
    _, (chosen, _) = finished
    for method, entry in chosen["methods"].items():
        assert len(entry["objectives"]) == 3
        assert entry["objectives"][entry["trial"]] == min(entry["objectives"])
        assert entry["settings"].keys() == SPACES[method].keys()
    measured = {"samples": 200, "phi_images": 128}
    assert chosen["tuning"] == {"requests": ["0", "1"], "seeds": 1} | measured


def test_closed_request_is_run_once_with_the_chosen_settings(finished):
    out, (chosen, arena) = finished
    config = json.loads((out / "closed" / "4" / "results.json").read_text())["config"]
    assert [*config["methods"]] == ["before", "retrain", *ASKED["methods"]]
    for method, entry in chosen["methods"].items():
        assert config["methods"][method] == entry["method"]
        assert config["methods"][method].items() >= entry["settings"].items()
    found = [(r["method"], r["seed"]) for r in rows(out / "closed" / "4")]
    assert len(found) == len({*found}) == 4 * 2
    assert {e["method"] for e in arena["methods"]} == {*ASKED["methods"]}
    assert (out / "closed" / "4" / "report.html").exists()
    for name in ("arena.json", "arena.md", "arena.csv", "front.png"):
        assert (out / name).exists()


def test_default_settings_run_beside_the_chosen_ones_and_take_no_part_in_the_tests(copy, finished):
    chosen, arena = run(copy, defaults=True)
    assert chosen == finished[1].chosen
    tuned = {title for title, entry in chosen["methods"].items() if entry["trial"]}
    assert tuned
    found = {row["method"] for row in rows(copy / "closed" / "4")}
    assert found - {"before", "retrain", *ASKED["methods"]} == {f"{name}-default" for name in tuned}
    config = json.loads((copy / "closed" / "4" / "results.json").read_text())["config"]
    for entry in arena["methods"]:
        name = entry["method"]
        assert ("untuned" in entry) == (name in tuned)
        if name in tuned:
            default = config["methods"][f"{name}-default"] | {"label": ""}
            assert default == chosen["methods"][name]["default"]
            assert len(entry["untuned"]["runs"]) == ASKED["seeds"]
            assert f"| {name}-default |" in (copy / "arena.md").read_text()
    standing = [{k: v for k, v in entry.items() if k != "untuned"} for entry in arena["methods"]]
    assert standing == finished[1].arena["methods"]


def test_models_before_unlearning_are_the_same_for_all_requests(finished):
    out, _ = finished
    one, *others = (
        {r["seed"]: r["fid"] for r in rows(out / folder) if r["method"] == "before"}
        for folder in ("tuning/0/models", "tuning/1/models", "closed/4")
    )
    assert others == [one, one]
    assert one[0] != one[1]


def test_finished_arena_answers_at_once_with_the_same(finished, copy, no_work):
    assert run(copy) == finished[1]


def test_settings_are_recorded_before_a_closed_request_is_run(tmp_path, monkeypatch):
    def stop(field, methods, seeds):
        assert (field.folder / "chosen.json").exists()
        assert not (field.folder / "closed").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_arena, "_run_closed", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    # No closed request was run, so another choice may still be made.
    chosen, _ = run(tmp_path, trials=2)
    assert chosen["trials"] == 2


@pytest.mark.slow
def test_interrupted_arena_resumes_with_the_choice_of_an_unstopped_one(
    finished, tmp_path, monkeypatch
):
    stopped = 0

    def stopping(*arguments, **options):
        nonlocal stopped
        stopped += 1
        if stopped == 5:
            raise KeyboardInterrupt
        return shrunk(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(_study, "unlearn", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert run(tmp_path).chosen == finished[1].chosen


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"trials": 4}, "trials: 3 there, 4 now"),
        ({"tuning": ["0", "2"]}, "tuning.requests"),
        ({"tuning_seeds": 2}, "tuning.seeds: 1 there, 2 now"),
        (
            {"tuning_config": arena_config(phi_images=8)},
            "tuning.phi_images: 128 there, 8 now",
        ),
        (
            {"spaces": SPACES | {"gradient_ascent": {"learning_rate": (1e-6, 1e-5, "log")}}},
            "gradient_ascent.space",
        ),
        (
            {"methods": [GradientAscent(through="decoder")]},
            "gradient_ascent.default.through: 'model' there, 'decoder' now",
        ),
    ],
)
def test_settings_cannot_be_chosen_again_after_closed_requests(
    finished, copy, files, no_work, changes, difference
):
    before = files(copy)
    with pytest.raises(ValueError, match=difference):
        run(copy, **changes)
    assert files(copy) == before


def test_closed_rows_without_a_record_of_the_choice_are_refused(copy):
    (copy / "chosen.json").unlink()
    with pytest.raises(ValueError, match=r"chosen\.json"):
        run(copy)


def test_another_method_extends_an_arena_and_leaves_the_others_as_they_are(finished, copy):
    chosen, arena = run(copy, methods=["neg_grad_plus"])
    old = finished[1].chosen["methods"]
    assert [*chosen["methods"]] == [*old, "neg_grad_plus"]
    assert chosen == json.loads((copy / "chosen.json").read_text())
    assert {name: chosen["methods"][name] for name in old} == old
    assert {e["method"] for e in arena["methods"]} == {*old, "neg_grad_plus"}
    kept = [row for row in rows(copy / "closed" / "4") if row["method"] != "neg_grad_plus"]
    assert kept == rows(finished[0] / "closed" / "4")


@pytest.mark.slow
def test_more_closed_requests_and_seeds_use_the_settings_that_were_chosen(
    finished, copy, monkeypatch
):
    monkeypatch.setattr(_arena_choice, "_tune", None)
    chosen, arena = run(copy, closed=["4", "5"], seeds=3)
    assert chosen == finished[1].chosen
    assert arena["closed"] == ["4", "5"]
    assert all(len(e["runs"]) == 2 * 3 for e in arena["methods"])


@pytest.mark.slow
def test_request_takes_the_models_of_the_study_of_the_same_request(finished, tmp_path, events):
    lender = finished[0] / "closed" / "4"
    run(tmp_path, tuning=["1"], closed=["4"], trials=1, models_from=[lender])
    borrowed = [e["path"] for e in events(tmp_path / "closed" / "4", "borrowed")]
    assert {f"{lender}/checkpoints/{name}" for name in ("before-0", "retrain-1", "judge-0")} <= {
        *borrowed
    }


def test_method_of_ones_own_takes_part_with_a_space_of_its_own(tmp_path):
    mine = GradientAscent(label="mine", through="decoder")
    spaces = {"mine": {"learning_rate": (1e-5, 1e-4, "log")}}
    chosen, arena = run(tmp_path, methods=[mine], spaces=spaces, trials=2, tuning=["1"], seeds=1)
    assert chosen["methods"]["mine"]["method"]["through"] == "decoder"
    assert arena["winner"] == "mine"


def test_tuning_may_measure_less_than_the_closed_requests(tmp_path):
    less = arena_config(phi_images=8, samples=50)
    run(tmp_path, tuning_config=less, tuning=["1"], trials=1, seeds=1)
    for folder, measured in (
        ("tuning/1/models", (50, 8)),
        ("tuning/1/gradient_ascent", (50, 8)),
        ("closed/4", (200, None)),
    ):
        config = json.loads((tmp_path / folder / "results.json").read_text())["config"]
        assert (config["samples"], config.get("phi_images")) == measured


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"closed": ["4", "1"]}, "'1' and '1'"),
        ({"closed": ["label=1"]}, "'1' and 'label=1', which forget the same"),
        ({"tuning": []}, r"tuning must be .*got \[\]"),
        ({"closed": "4"}, "closed must be .*got '4'"),
        ({"closed": ["indices:0,5"]}, "got 'indices:0,5'"),
        ({"tuning": ["11"]}, "'11'"),
        ({"methods": []}, "methods .*got none"),
        ({"methods": ["uno", "uno"]}, "methods .*got uno, uno"),
        ({"methods": ["retrain"]}, "methods must not name retrain"),
        ({"methods": ["gradient_asent"]}, "gradient_asent"),
        ({"spaces": {}}, "spaces .*'gradient_ascent'"),
        ({"spaces": SPACES | {"gradient_ascent": {"through": ["encoder"]}}}, "'encoder'"),
        ({"trials": 0}, "trials .*got 0"),
        ({"seeds": 0}, "seeds .*got 0"),
        ({"models_from": ["nowhere"]}, "models-from nowhere"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()
