"""Who wins an arena, and its table, its comma-separated values and its picture."""

import csv
import io
import json

import numpy as np
import pytest

from gsu_jax.report import (
    Aims,
    arena_front,
    arena_markdown,
    arena_standing,
    arena_text,
    default_row,
    write_arena_files,
)

SEEDS, REQUESTS = range(5), ("4", "T-shirt/top")
# fratio, FID, nelbo, phi, whether it diverges
MODELS = {
    "before": (0.1, 30.0, 100.0, -10.0, False),
    "retrain": (0.01, 20.0, 100.0, -30.0, False),
    "good": (0.011, 21.0, 100.2, -29.0, False),
    "fair": (0.02, 21.0, 100.2, -29.0, False),
    "lost": (0.0, 900.0, 1e6, -9e5, False),
    "diverging": (None, None, None, None, True),
}
METHODS = ("diverging", "fair", "good", "lost")


def study(request):
    rng = np.random.default_rng(len(request))
    rows = []
    for method, (fratio, fid, nelbo, phi, diverged) in MODELS.items():
        for seed in SEEDS:
            noise = 1 + 0.02 * rng.standard_normal()
            values = {"fratio": fratio, "fid_retain": fid}
            row = {k: v if v is None else v * noise for k, v in values.items()}
            row |= {"nelbo_retain": nelbo, "phi_forget": phi, "seconds": 1.0, "diverged": diverged}
            rows.append({"method": method, "seed": seed} | row)
    return {"schema": 1, "experiment": "arena", "rows": rows}


def chosen():
    method = {"settings": {"learning_rate": 1e-3}, "trial": 1, "objectives": [9.0, 4.0]}
    return {
        "objective": Aims().text(),
        "aims": Aims()._asdict(),
        "tuning": {"requests": ["0"], "seeds": 1},
        "trials": 2,
        "methods": dict.fromkeys(METHODS, method),
    }


@pytest.fixture(scope="module")
def standing():
    return arena_standing(chosen(), {request: study(request) for request in REQUESTS})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of an arena's files, and the content of arena.json."""
    folder = tmp_path_factory.mktemp("arena")
    return folder, write_arena_files(folder, chosen(), {r: study(r) for r in REQUESTS})


def entry(standing, method):
    return next(e for e in standing["methods"] if e["method"] == method)


def test_method_nearest_to_retraining_wins_and_lost_ones_come_last(standing):
    assert standing["winner"] == "good"
    assert [e["method"] for e in standing["methods"][:2]] == ["good", "fair"]
    for method in ("lost", "diverging"):
        assert entry(standing, method)["figures"]["objective"]["mean"] == 20


def test_every_run_on_a_closed_request_counts(standing):
    runs = entry(standing, "fair")["runs"]
    assert [(r["request"], r["seed"]) for r in runs] == [(q, s) for q in REQUESTS for s in SEEDS]
    assert entry(standing, "good")["met"] == 10
    assert entry(standing, "fair")["met"] == 0
    assert entry(standing, "diverging")["diverged"] == 10


def test_mean_lies_in_its_interval_and_a_missing_figure_has_none(standing):
    figure = entry(standing, "fair")["figures"]["fratio"]
    assert figure["low"] < figure["mean"] < figure["high"]
    assert figure["mean"] == pytest.approx(2.0, rel=0.05)
    assert entry(standing, "diverging")["figures"]["fratio"]["mean"] is None


def test_rivals_are_compared_with_the_winner_and_corrected_for_all_pairs(standing):
    assert standing["methods"][0]["against_winner"] is None
    test = entry(standing, "fair")["against_winner"]
    assert test["low"] < test["difference"] < test["high"]
    assert test["n"] == 10
    assert test["p"] == 2 / 2**10
    # Six pairs, and five of them have the least p.
    assert test["p_holm"] == pytest.approx(6 * test["p"])


def test_one_seed_on_one_request_has_no_test_and_no_interval():
    alone = study("4")
    alone["rows"] = [row for row in alone["rows"] if row["seed"] == 0]
    found = arena_standing(chosen(), {"4": alone})
    assert [e["against_winner"] for e in found["methods"]] == [None] * 4
    assert found["methods"][0]["figures"]["fratio"]["low"] is None


def test_retrained_models_show_how_far_one_of_them_is_from_their_mean(standing):
    retrained = standing["retrained"]["figures"]
    assert retrained["fid_retain"]["mean"] == pytest.approx(1.0)
    assert retrained["rho"]["mean"] == pytest.approx(0.0)
    assert 0 < retrained["objective"]["mean"] < 1
    assert standing["before"]["figures"]["rho"]["mean"] == 1
    assert standing["before"]["figures"]["seconds"]["mean"] is None


def test_closed_requests_without_a_row_of_the_methods_are_refused():
    with pytest.raises(ValueError, match="closed"):
        arena_standing(chosen() | {"methods": {}}, {"4": study("4")})


def test_files_of_an_arena_say_the_same(written):
    folder, arena = written
    assert json.loads((folder / "arena.json").read_text()) == arena
    lines = [*csv.DictReader(io.StringIO((folder / "arena.csv").read_text()))]
    assert [line["method"] for line in lines] == [
        *(e["method"] for e in arena["methods"]),
        "before",
        "retrained",
    ]
    assert float(lines[0]["objective"]) == arena["methods"][0]["figures"]["objective"]["mean"]
    assert (lines[0]["trial"], lines[0]["tuning_objective"]) == ("1", "4.0")
    assert (folder / "arena.md").read_text() == arena_markdown(arena)
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")


def test_table_names_the_winner_its_settings_and_the_closed_requests(written):
    table = arena_markdown(written[1])
    assert "| **good** | learning_rate 0.001 | 4.00 (9.00) |" in table
    assert "closed: 4, T-shirt/top." in table
    assert "Winner: good." in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert "| diverging |" not in rows[2]
    assert "10 diverged" in table


def test_terminal_shows_one_line_for_each_method(written):
    lines = arena_text(written[1]).splitlines()
    assert [line.split()[0] for line in lines[1:7]] == [
        "good", "fair", *(e["method"] for e in written[1]["methods"][2:]), "before", "retrained",
    ]  # fmt: skip
    assert lines[-1].startswith("winner: good. J = max(")


def without_phi(request):
    content = study(request)
    return content | {"rows": [row | {"phi_forget": None} for row in content["rows"]]}


def test_models_without_phi_are_compared_by_the_other_terms_and_have_no_panel_of_rho(standing):
    found = arena_standing(chosen(), {request: without_phi(request) for request in REQUESTS})
    assert found["winner"] == "good"
    assert all(entry["figures"]["rho"]["mean"] is None for entry in found["methods"])
    panels = [
        len(arena_front({"aims": Aims()._asdict()} | content).axes) for content in (standing, found)
    ]
    assert panels == [4, 2]


def test_default_setting_that_ran_too_has_a_line_below_its_method_and_no_test():
    closed = {request: study(request) for request in REQUESTS}
    for content in closed.values():
        rows = [row for row in content["rows"] if row["method"] == "fair"]
        content["rows"] += [row | {"method": default_row("good")} for row in rows]
    found = arena_standing(chosen(), closed)
    good, fair = found["methods"][:2]
    assert good["untuned"]["figures"] == fair["figures"]
    assert good["untuned"]["method"] == "good-default"
    assert "untuned" not in fair
    assert len(found["methods"]) == len(METHODS)
