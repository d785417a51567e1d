"""`stop_at_budget`: a run ends at the last check that is within the budget."""

import jax
import numpy as np
import pytest
from removal_desk import NUMBER

from gsu_jax.methods import GradientAscent
from gsu_jax.removal import weights_digest
from gsu_jax.removal.service import _models, replay, run
from gsu_jax.removal.service._models import Trained
from gsu_jax.removal.service._stop import count_steps, unlearn_as_planned

FACTS = {"method": "gradient_ascent", "epochs": 4, "stop_at_budget": True}
ASCENT = {"method": '"gradient_ascent"', "epochs": "10"}


@pytest.fixture
def budget(desk):
    """A budget that a whole run exceeds and half of it does not."""
    desk.plan(**ASCENT)
    case = desk.case()
    split, found = case.split, []
    held_out = split.test.retain.images
    before = case.load(case.base, case.facts["base"], "")

    def exceeds(params):
        found.append(_models.utility(case.model, before, params, held_out).high)
        return False

    facts = case.facts | {"stop_at_budget": True}
    unlearn_as_planned(
        case.model, before, split.train.forget.images, split.train.retain.images, facts,
        facts["seed"], exceeds,
    )  # fmt: skip
    assert found == sorted(found)
    return (found[4] + found[5]) / 2


def test_run_ends_at_the_last_check_within_the_budget(desk, budget):
    desk.plan(**ASCENT, utility_budget=str(budget))
    assert run(desk.case()).published == ""  # without the rule it is rolled back
    desk.plan(**ASCENT, utility_budget=str(budget), stop_at_budget="true")
    assert desk.case().facts["stop_at_budget"] is True
    found = run(desk.case())
    assert found.published.endswith(f"weights-{NUMBER}-2")
    assert 0 < found.utility.high <= budget
    total = count_steps(GradientAscent(), 146, 1292, 10)
    assert 0 < found.stopped_after < total
    ran = desk.case().last("ran").predicate["buildDefinition"]["externalParameters"]
    assert ran["settings"]["stopped_after"] == found.stopped_after
    assert replay(desk.case()) == (found.checkpoint, found.checkpoint)


def test_run_whose_first_check_exceeds_the_budget_is_rolled_back(desk):
    desk.plan(**ASCENT, utility_budget="1e-9", stop_at_budget="true")
    found = run(desk.case())
    assert (found.published, found.utility.high > 1e-9) == ("", True)
    assert desk.types[3:] == ["ran", "undone"]


def test_run_within_the_budget_is_the_run_without_the_rule(desk):
    desk.plan()
    plain = run(desk.case())
    case = desk.case()
    split, before = case.split, case.load(case.base, case.facts["base"], "")
    result = unlearn_as_planned(
        case.model, before, split.train.forget.images, split.train.retain.images,
        case.facts | {"stop_at_budget": True}, case.facts["seed"], lambda _: False,
    )  # fmt: skip
    assert not result.stopped
    assert weights_digest(result.params) == plain.checkpoint


@pytest.mark.parametrize("first", [1, 2, 3, 4, 5])
def test_the_parameters_are_those_of_the_check_before(desk, first):
    desk.plan()
    case = desk.case()
    split, before = case.split, case.load(case.base, case.facts["base"], "")
    asked = []

    def exceeds(params):
        asked.append(jax.tree.map(np.asarray, params))
        return len(asked) >= first

    result = unlearn_as_planned(
        case.model, before, split.train.forget.images, split.train.retain.images, FACTS, 0, exceeds
    )
    assert len(asked) == first
    assert result.stopped
    jax.tree.map(np.testing.assert_array_equal, result.params, asked[max(first - 2, 0)])


def test_models_of_other_seeds_end_at_the_same_rule(desk, budget):
    desk.plan(**ASCENT, utility_budget=str(budget), stop_at_budget="true")
    run(desk.case())
    case = desk.case()
    before = case.load(case.base, case.facts["base"], "")
    trained = Trained(case, before)
    found = trained.ensemble(2)
    held_out = case.split.test.retain.images
    for i, params in enumerate(found.unlearned):
        assert _models.utility(case.model, trained.original(i), params, held_out).high <= budget
