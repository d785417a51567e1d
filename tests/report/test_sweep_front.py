"""The front of a sweep, from rows by hand."""

import numpy as np
import pytest

from gsu_jax.report import best, pareto, points, sweep_front


@pytest.fixture(scope="module")
def rows():
    """Rows of two seeds by their (nelbo, fratio); None for one that diverged."""
    values_by_row = {
        "before": [(-100.0, 0.1), (-50.0, 0.1)],
        "cheap": [(-99.0, 0.06), (-49.5, 0.08)],  # 1 % each
        "dear": [(-90.0, 0.01), (-45.0, 0.01)],  # 10 % each
        "beaten": [(-95.0, 0.09), (-48.0, 0.09)],
        "lucky": [(-100.0, 0.0), None],
        "lost": [None, None],
    }
    return [
        {"method": row, "seed": seed, "diverged": value is None}
        | dict(zip(("nelbo_retain", "fratio"), value or (None, None), strict=True))
        for row, values in values_by_row.items()
        for seed, value in enumerate(values)
    ]


@pytest.fixture(scope="module")
def found(rows):
    names = ("cheap", "dear", "beaten", "lucky", "lost")
    settings = {
        row: {"learning_rate": 1e-3, "retain_weight": weight} for weight, row in enumerate(names)
    }
    return points(rows, settings)


def test_cost_is_the_rise_of_each_seed_over_its_own_start_in_percent(found):
    np.testing.assert_allclose([point.cost for point in found[:2]], [[1, 1], [10, 10]])
    assert [point.lost for point in found] == [0, 0, 0, 1, 2]


def test_front_holds_undominated_settings_of_which_no_seed_diverged(found):
    assert [point.row for point in pareto(found)] == ["cheap", "dear"]


@pytest.mark.parametrize(
    ("budget", "row"), [(0.5, None), (1.0 + 1e-9, "cheap"), (9.9, "cheap"), (10.1, "dear")]
)
def test_best_is_the_lowest_fratio_within_the_budget(found, budget, row):
    chosen = best(found, budget)
    assert (chosen and chosen.row) == row


def test_picture_has_the_front_as_a_line_and_a_ring_around_the_best(rows, found):
    axes = sweep_front(rows, found, 2.0).axes[0]
    lines = [np.transpose(line.get_data()) for line in axes.lines]
    front = np.array([(1.0, 0.07), (10.0, 0.01)])
    assert any(line.shape == front.shape and np.allclose(line, front) for line in lines)
    rings = [line for line in axes.lines if line.get_markersize() == 15]
    assert [np.ravel(ring.get_data()).round(6).tolist() for ring in rings] == [[1.0, 0.07]]
    figure = sweep_front(rows, found[-1:], 2.0)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "1 settings: all seeds diverged" in labels
    assert "best" not in labels
