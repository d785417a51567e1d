"""Half of the shadow models have each image, whatever the numbers."""

import numpy as np
import pytest

from gsu_jax.audit import half_splits


@pytest.mark.parametrize(("models", "images"), [(2, 2), (8, 7), (64, 200)])
def test_each_image_is_in_half_of_the_models(models, images):
    members = half_splits(models, images)
    assert members.shape == (models, images)
    assert (members.sum(axis=0) == models // 2).all()
    assert set(members.sum(axis=1)) <= {images // 2, images - images // 2}


def test_more_models_leave_the_first_ones_as_they_are():
    np.testing.assert_array_equal(half_splits(16, 50)[:6], half_splits(6, 50))
    assert (half_splits(6, 50) != half_splits(6, 50, seed=1)).any()


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match=r"models must be even.* got 7"):
        half_splits(7, 10)
    with pytest.raises(ValueError, match="images must be at least 2, got 1"):
        half_splits(8, 1)
