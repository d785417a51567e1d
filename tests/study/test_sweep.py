"""A sweep in its folder, its front and its best setting, and what its command line says."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study

from gsu_jax import METHODS, Classifier, GradientSurgery, Prediction, UnlearningResult
from gsu_jax.data import load, scale_images
from gsu_jax.report import best, pareto, points, sweep_front
from gsu_jax.study import Recipe, run_sweep
from gsu_jax.study import _study as study
from gsu_jax.study import _sweep as sweep_study

EXPERIMENTS = tiny_study.ROOT / "experiments"
VALUES = {"learning_rates": (1e-3, 1e30), "retain_weights": (0.0, 2.0), "seeds": 2}


def judge(kernel, images):
    flat = scale_images(images).reshape(len(images), -1)
    return Prediction(logits=flat @ kernel, features=flat[:, 18:24])


JUDGE = Classifier(lambda key: jax.random.normal(key, (64, 10)), judge, "six pixels")


@pytest.fixture(scope="module", autouse=True)
def quick_judge():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "classifier", lambda config: JUDGE)
        yield


def config(**changes):
    """Untrained networks will do, and compile less."""
    none = {"pretraining": Recipe(epochs=0), "judging": Recipe(epochs=0), "judge_gate": 0.0}
    return tiny_study.tiny_config(**{"experiment": "sweep"} | none | changes)


def run(out, **changes):
    return run_sweep(config(), load("digits"), out, **{"budget": 1e3} | VALUES | changes)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


# The front, from rows by hand


def rows_of(nelbo_by_row):
    """Rows whose seeds have these (nelbo, fratio), or None where one diverged."""
    return [
        {"method": row, "seed": seed, "diverged": value is None}
        | dict(zip(("nelbo_retain", "fratio"), value or (None, None), strict=True))
        for row, values in nelbo_by_row.items()
        for seed, value in enumerate(values)
    ]


ROWS = rows_of(
    {
        "before": [(-100.0, 0.1), (-50.0, 0.1)],
        "cheap": [(-99.0, 0.06), (-49.5, 0.08)],  # 1 % each
        "dear": [(-90.0, 0.01), (-45.0, 0.01)],  # 10 % each
        "beaten": [(-95.0, 0.09), (-48.0, 0.09)],
        "lucky": [(-100.0, 0.0), None],
        "lost": [None, None],
    }
)
SETTINGS = {
    row: {"learning_rate": 1e-3, "retain_weight": weight}
    for weight, row in enumerate(("cheap", "dear", "beaten", "lucky", "lost"))
}
POINTS = points(ROWS, SETTINGS)


def test_cost_is_the_rise_of_each_seed_over_its_own_start_in_percent():
    np.testing.assert_allclose([point.cost for point in POINTS[:2]], [[1, 1], [10, 10]])
    assert [point.lost for point in POINTS] == [0, 0, 0, 1, 2]


def test_front_joins_what_nothing_beats_and_leaves_out_settings_that_lost_a_seed():
    assert [point.row for point in pareto(POINTS)] == ["cheap", "dear"]


@pytest.mark.parametrize(
    ("budget", "row"), [(0.5, None), (1.0 + 1e-9, "cheap"), (9.9, "cheap"), (10.1, "dear")]
)
def test_best_is_the_lowest_fratio_within_the_budget(budget, row):
    chosen = best(POINTS, budget)
    assert (chosen and chosen.row) == row


def test_picture_has_the_front_as_a_line_and_a_ring_around_the_best():
    axes = sweep_front(ROWS, POINTS, 2.0).axes[0]
    lines = [np.transpose(line.get_data()) for line in axes.lines]
    front = np.array([(1.0, 0.07), (10.0, 0.01)])
    assert any(line.shape == front.shape and np.allclose(line, front) for line in lines)
    rings = [line for line in axes.lines if line.get_markersize() == 15]
    assert [np.ravel(ring.get_data()).round(6).tolist() for ring in rings] == [[1.0, 0.07]]
    figure = sweep_front(ROWS, POINTS[-1:], 2.0)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "1 settings: all seeds diverged" in labels
    assert "best" not in labels


# The whole way, with one rate that diverges


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "out"
    return out, run(out)


def test_sweep_has_every_setting_with_its_seeds_and_marks_those_that_diverged(finished):
    out, printed = finished
    found = read(out / "sweep.json")
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
    # Adding the retain gradient must show where the settings are run together, too.
    first, second = (s["seeds"][0]["nelbo_retain"] for s in settings[:2])
    assert second < first
    table = printed.splitlines()
    assert sum(line.startswith("rate-1e+30") and "2 (2 diverged)" in line for line in table) == 2
    assert (out / "front.png").read_bytes().startswith(b"\x89PNG")


def test_best_is_a_method_that_can_be_built_again(finished):
    out, printed = finished
    found = read(out / "best.json")
    method = METHODS[found["method"]](**found["settings"])
    assert isinstance(method, GradientSurgery)
    assert f"best: {method.title}, in " in printed
    kept = next(s for s in read(out / "sweep.json")["settings"] if s["best"])
    assert method.learning_rate == kept["learning_rate"] == 1e-3
    assert method.retain_weight == kept["retain_weight"]
    assert found["fratio"] == np.mean([row["fratio"] for row in kept["seeds"]])
    assert (found["dataset"], found["forget"], found["epochs"]) == ("digits", "1", 1)


def test_finished_sweep_prints_its_table_without_a_run(finished, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("run again")

    out, printed = finished
    monkeypatch.setattr(sweep_study, "sweep", fail)
    monkeypatch.setattr(study, "train_missing", fail)
    written = {path: path.read_bytes() for path in out.glob("*.*")}
    assert run(out) == printed
    assert {path: path.read_bytes() for path in written} == written
    assert out / "report.html" in written


def test_where_no_setting_is_within_the_budget_there_is_no_best(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "dear")
    results = read(tmp_path / "dear" / "results.json")
    for row in results["rows"]:
        if row["method"] != "before" and not row["diverged"]:
            row["nelbo_retain"] += 1e4
    (tmp_path / "dear" / "results.json").write_text(json.dumps(results))
    printed = run(tmp_path / "dear", budget=2.0)
    assert printed.splitlines()[-1].startswith("best: none (the rule: lowest mean fratio among")
    assert not (tmp_path / "dear" / "best.json").exists()
    assert not any(setting["best"] for setting in read(tmp_path / "dear/sweep.json")["settings"])


def test_more_rates_and_seeds_extend_a_sweep_and_leave_its_rows_as_they_are(
    finished, tmp_path, monkeypatch
):
    asked = []

    def unchanged(model, params, forget, retain, *, method, settings, keys, epochs):
        asked.append(settings | {"seeds": len(keys)})
        spread = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (6, *leaf.shape)), params)
        return UnlearningResult(spread, {}, 36.0, 18.0, 2, stopped=False)

    monkeypatch.setattr(sweep_study, "sweep", unchanged)
    monkeypatch.setattr(study, "write_report", lambda *arguments, **options: None)
    shutil.copytree(finished[0], tmp_path / "more")
    run(tmp_path / "more", learning_rates=(1e-2, 1e30, 1e-3), seeds=3)
    rates = [1e-3, 1e-3, 1e30, 1e30, 1e-2, 1e-2]
    assert asked == [{"learning_rate": rates, "retain_weight": [0.0, 2.0] * 3, "seeds": 3}]
    old, new = (
        read(folder / "results.json")["rows"] for folder in (finished[0], tmp_path / "more")
    )
    assert [row for row in new if row in old] == old
    added = [row for row in new if row not in old]
    assert len(added) == 7 * 3 - 5 * 2
    assert {row["seconds"] for row in added if row["method"] != "before"} == {36.0 / 18}
    # Each row has the model that its own seed began with.
    before = {row["seed"]: row["nelbo_retain"] for row in new if row["method"] == "before"}
    rows = [row for row in added if row["method"] != "before"]
    assert len(set(before.values())) == 3
    assert all(row["nelbo_retain"] == before[row["seed"]] for row in rows)


def test_another_sweep_in_the_folder_is_refused_and_left_as_it_is(finished):
    out, _ = finished
    written = {path: path.read_bytes() for path in out.glob("*.json")}
    with pytest.raises(ValueError, match=r"--out .* holds another sweep, with rate-1e\+30-weight"):
        run(out, learning_rates=(1e-3,))
    with pytest.raises(ValueError, match="holds a study with another config"):
        run_sweep(config(epochs=2), load("digits"), out, **VALUES)
    assert {path: path.read_bytes() for path in out.glob("*.json")} == written


# The command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--learning-rates 1e-3 -1", "learning_rates must be above 0, at least one, found -1."),
        ("--learning-rates 0", "learning_rates must be above 0, at least one, found 0."),
        ("--learning-rates", "learning_rates must be above 0, at least one, found none."),
        ("--learning-rates x", "--learning-rates"),
        ("--retain-weights -1", "retain_weights must be 0 or more, at least one, found -1."),
        ("--retain-weights inf", "retain_weights must be 0 or more, at least one, found inf."),
        ("--retain-weights", "retain_weights must be 0 or more, at least one, found none."),
        ("--retain-weights 1 1.0", "retain_weights must each be given once, found [1.0, 1.0]."),
        ("--budget -2", "budget must be 0 or more, found -2."),
        ("--seeds 0", "seeds must be at least 1, found 0."),
        ("--epochs -1", "epochs must be at least 0, found -1."),
        ("--forget 11", "forget: '11' is no class or attribute of digits"),
        ("--dataset mnist --data-dir nowhere", "--dataset mnist: "),
        ("--models-from nowhere", "--models-from nowhere is no folder"),
    ],
)
def test_mistake_ends_in_one_message_and_status_2(words, message, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXPERIMENTS)
    monkeypatch.delenv("GSU_JAX_TRACEBACK", raising=False)
    monkeypatch.setattr(sys, "argv", ["sweep.py", *words.split()])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EXPERIMENTS / "sweep.py"), run_name="__main__")
    printed, errors = capsys.readouterr()
    assert (end.value.code, printed) == (2, "")
    assert message in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_command_line_takes_the_model_and_the_epochs_of_the_data(monkeypatch, tmp_path, capsys):
    seen = []

    def remember(config, source, out, **options):
        seen.append((config.experiment, config.epochs, config.ensemble, out, options))
        return "the table"

    monkeypatch.syspath_prepend(EXPERIMENTS)
    monkeypatch.setattr(sweep_study, "run_sweep", remember)
    words = "--learning-rates 1e-4 2e-3 --retain-weights 0 --seeds 2 --budget 5 --out there"
    monkeypatch.setattr(sys, "argv", ["sweep.py", *words.split()])
    module = runpy.run_path(str(EXPERIMENTS / "sweep.py"), run_name="__main__")
    assert capsys.readouterr().out == "the table\n"
    options = {"learning_rates": (1e-4, 2e-3), "retain_weights": (0.0,), "seeds": 2, "budget": 5.0}
    assert seen == [("sweep", 20, 0, Path("there"), options | {"models_from": None, "width": None})]
    mnist = module["config"](module["Arguments"](dataset="mnist"))
    assert (mnist.epochs, mnist.model.image_shape) == (1, (28, 28, 1))
