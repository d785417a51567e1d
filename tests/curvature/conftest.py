"""The tests of the package run in float64, without implicit promotion of rank or dtype."""

import jax
import numpy as np
import pytest
from logistic_regression import even, labeled, minimum


@pytest.fixture(autouse=True)
def strict_float64():
    with (
        jax.enable_x64(True),
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
    ):
        yield


@pytest.fixture(scope="package")
def data():
    return labeled()


@pytest.fixture(scope="package")
def theta(data):
    """The minimum of the loss on all data."""
    return minimum(data, even(data))


@pytest.fixture(scope="package")
def group(data):
    """The indices of two examples at one end of a feature."""
    return np.argsort(-data["x"][:, 1])[:2]
