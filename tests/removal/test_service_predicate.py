"""`what.predicate`: the images that a function of the user selects."""

import json

import numpy as np
import pytest

from gsu_jax.removal.service import run


def asking(function):
    return {"claim": '"rows"', "what": f'{{ predicate = "desk_models:{function}" }}'}


def test_the_images_that_a_function_selects_are_forgotten(desk):
    found = desk.plan(**asking("dark"))
    images = desk.case().source.train.images
    assert found.facts["count"] == (images.mean((1, 2, 3)) < 0.25).sum() == 16
    np.testing.assert_array_equal(
        desk.case().positions, np.flatnonzero(images.mean((1, 2, 3)) < 0.25)
    )
    assert run(desk.case()).published
    received = desk.case().last("received").predicate
    assert received["what"] == "predicate"
    assert "dark" not in json.dumps(received)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("numbers", "must return a boolean for each of 1438 images, got int64"),
        ("nothing", "no training image of digits matches"),
        ("gone", "module desk_models has no function gone"),
        ("broken", "failed: "),
    ],
)
def test_a_function_that_does_not_fit_is_named_and_nothing_changes(desk, function, message):
    before = {n: c for n, c in desk.snapshot().items() if n != "request.toml"}
    with pytest.raises(ValueError, match=message):
        desk.plan(**asking(function))
    assert {n: c for n, c in desk.snapshot().items() if n != "request.toml"} == before
