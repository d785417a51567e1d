"""The objective of an arena: 0 as retrained, 1 if all aims are just met, 20 at the worst."""

import math

import pytest

from gsu_jax.report import Aims, excess, level_of, relative_figures

LEVEL = {"fratio": 0.01, "fid_retain": 20.0, "nelbo_retain": 100.0, "phi_forget": -30.0}


def row(method="own", seed=0, **changes):
    return {"method": method, "seed": seed, "seconds": 1.0} | LEVEL | changes


def level(**retrained):
    """Two retrained models with a mean of `LEVEL`; the models before have phi 20 nats higher."""
    found = LEVEL | retrained
    rows = [row("retrain", 0, **found, seconds=90.0), row("retrain", 1, **found, seconds=110.0)]
    rows += [row("before", 0, phi_forget=-10.0), row("before", 1, phi_forget=-10.0)]
    return level_of({"rows": rows})


def test_model_at_the_level_of_retraining_has_no_excess():
    assert excess(row(), level(), Aims()) == 0


@pytest.mark.parametrize(
    ("figure", "just_met", "slightly_more"),
    [
        ("fratio", 0.015, 0.0151),
        ("fid_retain", 22.0, 22.1),
        ("nelbo_retain", 101.0, 101.1),
        ("phi_forget", -25.0, -24.9),
        ("phi_forget", -35.0, -35.1),  # over-forgotten
    ],
)
def test_excess_is_one_where_an_aim_is_just_met(figure, just_met, slightly_more):
    assert excess(row(**{figure: just_met}), level(), Aims()) == pytest.approx(1)
    assert excess(row(**{figure: slightly_more}), level(), Aims()) > 1


def test_worst_aim_decides():
    one, other = {"fid_retain": 30.0}, {"nelbo_retain": 102.0}
    alone = [excess(row(**changes), level(), Aims()) for changes in (one, other)]
    assert excess(row(**one, **other), level(), Aims()) == max(alone)


@pytest.mark.parametrize("better", [{"fratio": 0.0}, {"fid_retain": 5.0}, {"nelbo_retain": 90.0}])
def test_figure_better_than_that_of_retraining_is_no_excess(better):
    assert excess(row(**better), level(), Aims()) == 0


def test_fratio_of_half_a_percent_is_small_enough_whatever_retrained_models_have():
    assert excess(row(fratio=0.005), level(fratio=0.0), Aims()) == pytest.approx(1)


def test_negative_nelbo_is_compared_by_its_size():
    negative = level(nelbo_retain=-100.0)
    assert excess(row(nelbo_retain=-99.0), negative, Aims()) == pytest.approx(1)
    assert excess(row(nelbo_retain=-101.0), negative, Aims()) == 0


@pytest.mark.parametrize(
    "lost",
    [
        {"diverged": True},
        {"nelbo_retain": 1e9},
        {"nelbo_retain": None},
        {"phi_forget": None},
        {"phi_forget": math.nan},
        {"fid_retain": None},
        {"fratio": None},
    ],
)
def test_run_that_diverged_or_lacks_a_figure_is_at_the_worst(lost):
    assert excess(row(**lost), level(), Aims()) == 20


def test_model_before_unlearning_is_never_at_the_worst():
    for fratio in (0.0, 0.1, 0.9):
        before = row(fratio=1.0, phi_forget=-10.0)
        assert excess(before, level(fratio=fratio), Aims()) < 15


def test_figures_that_no_model_of_the_request_has_are_left_out():
    bare = {"nelbo_retain": None, "phi_forget": None}
    rows = [row(method, seed, **bare) for method in ("before", "retrain") for seed in (0, 1)]
    assert excess(row(**bare, fratio=0.015), level_of({"rows": rows}), Aims()) == pytest.approx(1)


def test_time_counts_only_with_an_aim():
    slow = row(seconds=3.0)
    assert excess(slow, level(), Aims()) == 0
    assert excess(slow, level(), Aims(seconds=0.02)) == pytest.approx(1.5)


def test_rho_is_that_of_the_seed_that_the_run_started_from():
    rows = [row("retrain", seed) for seed in (0, 1)]
    rows += [row("before", 0, phi_forget=-20.0), row("before", 1, phi_forget=-10.0)]
    found = level_of({"rows": rows})
    rhos = [relative_figures(row(seed=s, phi_forget=-25.0), found, Aims())["rho"] for s in (0, 1)]
    assert rhos == [0.5, 0.25]


def test_formula_says_the_aims_that_hold():
    assert "log 1.5" in Aims().text()
    assert "t_R" not in Aims().text()
    assert "t / (0.02 t_R)" in Aims(seconds=0.02).text()


def test_study_without_retrained_models_has_no_level():
    with pytest.raises(ValueError, match="retrained"):
        level_of({"rows": [row("before")]})


@pytest.mark.parametrize(
    ("aims", "name"),
    [
        ({"fratio": 1.0}, "fratio"),
        ({"nelbo_retain": 0.5}, "nelbo_retain"),
        ({"rho": 0.0}, "rho"),
        ({"seconds": 0.0}, "seconds"),
    ],
)
def test_aim_out_of_range_is_refused(aims, name):
    with pytest.raises(ValueError, match=name):
        Aims(**aims).check()
