"""`run_sweep`: a study whose rows are settings of surgery."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study

from gsu_jax import METHODS, GradientSurgery, UnlearningResult, unlearning
from gsu_jax.data import load
from gsu_jax.study import Recipe, _study, _sweep, run_sweep

pytestmark = pytest.mark.long

VALUES = {"learning_rates": (1e-3, 1e30), "retain_weights": (0.0, 2.0), "seeds": 2}
# Untrained networks will do, and compile less.
UNTRAINED = {"pretraining": Recipe(epochs=0), "judging": Recipe(epochs=0), "judge_gate": 0.0}


def shrunk(model, params, forget, retain, *, method, settings, keys, epochs):
    """In place of `sweep`: each setting shrinks the parameters more, a rate above 1 loses them."""
    rates = np.asarray(settings["learning_rate"])
    factors = jnp.where(rates > 1, jnp.nan, 1 - 0.1 * jnp.arange(len(rates)))
    members = jax.tree.map(lambda leaf: jnp.multiply.outer(factors, leaf), params)
    return UnlearningResult(members, {}, 36.0, 18.0, 2, stopped=False)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A judge of one layer, a report without plots, no pictures, and no training."""
    with tiny_study.quick_judge(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_study, "write_report", lambda path, *arguments, **options: path.touch())
        patch.setattr(_study, "save_picture", lambda *arguments: None)
        patch.setattr(_study, "has_picture", lambda path: True)
        patch.setattr(_sweep, "sweep", shrunk)
        yield


def run(out, config=None, **changes):
    config = tiny_study.tiny_config(**{"experiment": "sweep"} | UNTRAINED | (config or {}))
    return run_sweep(config, load("digits"), out, **{"budget": 1e3} | VALUES | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep of which one rate diverges: its folder and what `run_sweep` returned."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    return out, run(out)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_sweep_has_every_setting_with_its_seeds_and_marks_the_diverged_ones(finished):
    out, returned = finished
    found = read(out / "sweep.json")
    assert found == returned.sweep
    assert found["schema"] == 1
    settings = found["settings"]
    pairs = [(s["learning_rate"], s["retain_weight"]) for s in settings]
    assert pairs == [(1e-3, 0.0), (1e-3, 2.0), (1e30, 0.0), (1e30, 2.0)]
    for setting in settings:
        diverged = setting["learning_rate"] == 1e30
        for seed, row in enumerate(setting["seeds"]):
            assert (row["seed"], row["diverged"]) == (seed, diverged)
            for metric in ("fratio", "fid_retain", "nelbo_retain", "nelbo_forget"):
                assert (row[metric] is None) == diverged
    # The first setting leaves the parameters as they are, the second shrinks them.
    first, second = ([row["nelbo_retain"] for row in s["seeds"]] for s in settings[:2])
    assert first == [row["nelbo_retain"] for row in found["before"]]
    assert second != first
    assert returned.results == read(out / "results.json")
    assert (out / "front.png").read_bytes().startswith(b"\x89PNG")


def test_best_setting_is_a_method_that_can_be_built_again(finished):
    out, returned = finished
    found = read(out / "best.json")
    assert found == returned.best
    method = METHODS[found["method"]](**found["settings"])
    assert isinstance(method, GradientSurgery)
    kept = next(s for s in returned.sweep["settings"] if s["best"])
    assert method.learning_rate == kept["learning_rate"] == 1e-3
    assert method.retain_weight == kept["retain_weight"]
    assert found["fratio"] == np.mean([row["fratio"] for row in kept["seeds"]])
    assert (found["dataset"], found["forget"], found["epochs"]) == ("digits", "1", 1)


def test_finished_sweep_started_again_changes_nothing(finished, monkeypatch, files):
    out, returned = finished
    monkeypatch.setattr(_sweep, "sweep", None)
    monkeypatch.setattr(_study, "train_generators", None)
    before = files(out)
    assert run(out) == returned
    assert files(out) == before


def test_budget_that_no_setting_keeps_leaves_no_best(finished, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "dear")
    results = read(out / "results.json")
    for row in results["rows"]:
        if row["method"] != "before" and not row["diverged"]:
            row["nelbo_retain"] += 1e4
    (out / "results.json").write_text(json.dumps(results))
    returned = run(out, budget=2.0)
    assert returned.best is None
    assert not (out / "best.json").exists()
    assert not any(setting["best"] for setting in returned.sweep["settings"])


@pytest.mark.long
def test_more_rates_and_seeds_extend_a_sweep_and_keep_its_rows(finished, tmp_path, monkeypatch):
    asked = []

    def recorded(*arguments, settings, keys, **options):
        asked.append(settings | {"seeds": len(keys)})
        return shrunk(*arguments, settings=settings, keys=keys, **options)

    monkeypatch.setattr(_sweep, "sweep", recorded)
    out = shutil.copytree(finished[0], tmp_path / "more")
    run(out, learning_rates=(1e-2, 1e30, 1e-3), seeds=3)
    rates = [1e-3, 1e-3, 1e30, 1e30, 1e-2, 1e-2]
    assert asked == [{"learning_rate": rates, "retain_weight": [0.0, 2.0] * 3, "seeds": 3}]
    old, new = (read(folder / "results.json")["rows"] for folder in (finished[0], out))
    assert [row for row in new if row in old] == old
    added = [row for row in new if row not in old]
    assert len(added) == 7 * 3 - 5 * 2
    assert {row["seconds"] for row in added if row["method"] != "before"} == {36.0 / 18}
    # Each row has the model that its own seed started from.
    nelbo = {(row["method"], row["seed"]): row["nelbo_retain"] for row in new}
    assert len({nelbo["before", seed] for seed in range(3)}) == 3
    first = "rate-0.001-weight-0"
    assert all(nelbo[first, seed] == nelbo["before", seed] for seed in range(3))


@pytest.mark.slow
def test_sweep_runs_surgery_with_every_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(_sweep, "sweep", unlearning.sweep)
    settings = run(tmp_path).sweep["settings"]
    assert [s["seeds"][0]["diverged"] for s in settings] == [False, False, True, True]
    # Adding the retain gradient has an effect although all settings share one program.
    first, second = (s["seeds"][0]["nelbo_retain"] for s in settings[:2])
    assert second < first


# Refusals


def test_another_sweep_in_the_folder_is_refused_and_left_as_it_is(finished, files):
    out, _ = finished
    before = files(out)
    with pytest.raises(ValueError, match=r"--out .*rate-1e\+30-weight"):
        run(out, learning_rates=(1e-3,))
    with pytest.raises(ValueError, match="epochs: 1 there, 2 now"):
        run(out, {"epochs": 2})
    assert files(out) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rates": (1e-3, -1.0)}, r"learning_rates .*got -1"),
        ({"learning_rates": (0.0,)}, r"learning_rates .*got 0"),
        ({"learning_rates": (float("inf"),)}, r"learning_rates .*got inf"),
        ({"learning_rates": ()}, r"learning_rates .*got \[\]"),
        ({"retain_weights": (-1.0,)}, r"retain_weights .*got -1"),
        ({"retain_weights": (float("inf"),)}, r"retain_weights .*got inf"),
        ({"retain_weights": ()}, r"retain_weights .*got \[\]"),
        ({"retain_weights": (1.0, 1.0)}, r"retain_weights .*got \[1.0, 1.0\]"),
        ({"budget": -2.0}, r"budget .*got -2"),
        ({"seeds": 0}, r"seeds .*got 0"),
        ({"models_from": "nowhere"}, r"models-from nowhere"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()
