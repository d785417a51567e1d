"""Linear diffusion models start a study with the components of what they are trained on."""

import numpy as np
import pytest
import tiny_study

from gsu_jax.data import load, parse_request
from gsu_jax.models import MLPDiffusionConfig
from gsu_jax.models.diffusion import to_data
from gsu_jax.study import Recipe, StudyConfig
from gsu_jax.study import load as load_model

MODEL = MLPDiffusionConfig(
    (8, 8, 1), coordinates=5, width=8, depth=1, gamma_min=-8.0, sampler_steps=2, bound_times=2,
    basis="principal",
)  # fmt: skip


def record_of(model):
    return StudyConfig("mine", "digits", "1", model).record()["model"]


def test_record_has_the_basis_only_where_it_is_not_the_first_one():
    assert "basis" not in record_of(MLPDiffusionConfig())
    assert record_of(MODEL)["basis"] == "principal"


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_no_model_sees_images_that_it_is_not_trained_on(tmp_path):
    options = {"model": MODEL, "pretraining": Recipe(epochs=1), "samples": 20}
    tiny_study.run_tiny(tmp_path, methods=("before", "retrain"), seeds=1, **options)
    source = load("digits")
    retained = parse_request("1", source).split(source)[0].retain
    for method, images in (("before", source.train.images), ("retrain", retained.images)):
        found = load_model(tmp_path, method, 0).params["network"]["basis"]
        x = np.asarray(to_data(images), np.float64).reshape(len(images), -1)
        expected = np.linalg.eigh(np.cov(x.T))[1][:, :-6:-1]
        np.testing.assert_allclose(np.abs((found * expected).sum(0)), 1.0, atol=1e-3)
    assert not np.allclose(*(load_model(tmp_path, m, 0).params["network"]["basis"] for m in (
        "before", "retrain"
    )))  # fmt: skip
