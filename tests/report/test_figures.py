"""Plots: curves along the steps, and forgetting against utility."""

import numpy as np
import pytest
from report_rows import RETRAINED_FID, ensemble, row, study

from gsu_jax.metrics import prediction_interval
from gsu_jax.report import _figures as figures
from gsu_jax.report._curves import curves
from gsu_jax.report._front import front, utility_axis
from gsu_jax.report._results import roles_of


def drawn_front(rows):
    return front(study(rows), figures.styles(roles_of(study(rows))))


def test_a_method_keeps_its_style_and_no_two_look_alike():
    roles = {"before": "baseline", "retrain": "yardstick"}
    roles |= {f"m{i}": "method" for i in range(13)}
    look = figures.styles(roles)
    assert len(set(look.values())) == len(roles)
    assert figures.styles(dict([*roles.items()][:5]))["m1"] == look["m1"]


def test_an_exploding_loss_gets_a_symmetric_logarithmic_scale():
    steps = np.arange(30)
    explodes = {
        "retain_loss": 110 * np.exp(steps.astype(float)),
        "forget_loss": np.where(steps > 20, np.nan, 50 * np.exp(steps)),
        "cosine": np.full(30, -0.5),
    }
    tame = {"retain_loss": 110 + steps}
    figure = curves(
        {"a": [explodes, explodes], "b": [tame]}, figures.styles({"a": "method", "b": "method"})
    )
    scales = [axes.get_yscale() for axes in figure.axes]
    assert scales[:4] == ["symlog", "symlog", "linear", "linear"]


def test_odd_histories_are_drawn_small():
    odd = {
        "a": [{"retain_loss": np.array([np.nan, np.inf])}],
        "b": [{"retain_loss": np.zeros(5)}, {"retain_loss": np.ones(3)}],
        "c": [{"retain_loss": np.array([4.0]), "cosine": np.array([0.1])}],
        "d": [{"forget_loss": -np.logspace(0, 13, 5000)}],
        "e": [{}],
    }
    svg = figures.svg(curves(odd, figures.styles(dict.fromkeys(odd, "method"))), "curves")
    assert svg.startswith("<svg")
    assert len(svg) < 500_000


def test_the_front_draws_the_retrained_region_and_names_every_method():
    figure = drawn_front(ensemble(*((f"m{i}", 1.0 + i) for i in range(14))))
    fid, nelbo = figure.axes
    assert len(nelbo.patches) == 1
    (box,) = (patch.get_bbox() for patch in fid.patches)
    np.testing.assert_allclose([box.y0, box.y1], prediction_interval(RETRAINED_FID))
    across = prediction_interval([0.006 + 0.001 * s for s in range(8)])
    assert box.x1 == pytest.approx(across.high)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["retrain", *(f"m{i}" for i in range(14)), "95 % of retrained models"]


def test_a_wrecked_method_leaves_the_scale_at_the_level_of_retraining():
    rows = ensemble(("ours", 1.0), ("wreck", 1e6))
    rows += [row("wreck", s, nelbo_retain=3e16, fid_retain=1e9) for s in (5, 6)]
    for metric, retrained, highest in (("fid_retain", 30, 100), ("nelbo_retain", 109, 150)):
        axis = utility_axis(study(rows), metric)
        assert 0 < axis.low < retrained < axis.high < highest


def test_negative_nelbo_gets_a_linear_scale():
    rows = [row("retrain", s, nelbo_retain=-900.0 - s) for s in range(3)]
    rows += [row("a", nelbo_retain=1e9), row("b", fid_retain=None)]
    axis = utility_axis(study(rows), "nelbo_retain")
    assert not axis.log
    assert axis.low < -902
    assert -900 < axis.high < 0
    drawn_front(rows)
