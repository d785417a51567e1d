"""`gsu-jax layers`: the conflict of layers, and variants of surgery at equal retained loss."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study

from gsu_jax.cli.experiments import _layer_models, diffusion, layers
from gsu_jax.cli.experiments._layer_tables import at_equal_cost, share_at
from gsu_jax.data import load
from gsu_jax.models import GenerativeModel, MLPDiffusionConfig, MLPVAEConfig
from gsu_jax.study import Recipe

SCRIPT = "layers.py"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--models mlp", "--models: unknown model 'mlp'"),
        ("--seeds 0", "seeds must be at least 1, got 0"),
        ("--learning-rates 0", "learning_rates must be above 0"),
        ("--learning-rates 1e-3 1e-4", "learning_rates must rise"),
        ("--forget 11", "'11'"),
        ("--diffusion-from nowhere", "nowhere"),
    ],
)
def test_mistake_ends_in_one_message_and_status_2(refuses, words, message):
    assert refuses(words, message)


def test_share_is_taken_where_the_bound_first_rises_by_the_cost():
    rise, share = [0.0, 0.01, 0.03, 0.02], [0.1, 0.06, 0.02, 0.5]
    assert share_at(rise, share, 0.01) == (0.06, True)
    assert share_at(rise, share, 0.015) == (0.05, True)
    assert share_at(rise, share, 0.04) == (0.5, False)
    assert share_at([0.0, -0.01, 0.01], [0.1, 0.08, 0.04], 0.0) == (0.06, True)


def test_diverged_rate_counts_as_one_that_costs_more():
    assert share_at([0.0, 0.01, np.nan], [0.1, 0.06, 0.0], 0.02) == (0.06, True)
    assert share_at([0.0, np.inf], [0.1, 0.0], 0.02) == (0.1, True)


def test_variants_are_compared_seed_by_seed_relative_to_their_own_model_before():
    before = {"variant": "before", "retained": [100.0, 200.0], "share": [0.1, 0.2]}
    other = {"variant": "global", "retained": [[102.0, 204.0]], "share": [[0.0, 0.1]]}
    share, reached = at_equal_cost([before, other], 0.01)["global"]
    assert share.tolist() == [0.05, 0.15]
    assert reached
    assert not at_equal_cost([before, other], 0.03)["global"][1]


def test_judge_sees_the_shares_of_test_images_and_the_bound_is_theirs():
    source = load("digits")
    images, labels = jnp.asarray(source.test.images), source.test.attributes["label"]
    model = GenerativeModel(
        init=None,
        loss=lambda params, images, key: params * images.mean(),
        sample=lambda params, key, n: images[:n],
    )
    made = _layer_models.Trained("test images", model, jnp.array([1.0, 2.0]))
    found = _layer_models.measurer(made, source, "8", len(images))(made.params)
    share = (labels == 8).mean()
    assert np.abs(found.share - share).max() < 0.01
    kept, forgotten = (float(images[own].mean()) for own in (labels != 8, labels == 8))
    np.testing.assert_allclose(found.retained, [kept, 2 * kept], rtol=1e-5)
    np.testing.assert_allclose(found.forgotten, [forgotten, 2 * forgotten], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config", "variants"),
    [
        ("mlp_vae", MLPVAEConfig((8, 8, 1), (8,), 2), ["global, decoder"]),
        (
            "diffusion",
            MLPDiffusionConfig((8, 8, 1), width=8, depth=1, coordinates=64, sampler_steps=2),
            ["global, window", "remove, window"],
        ),
    ],
)
def test_tiny_model_goes_the_whole_way(run, tmp_path, monkeypatch, name, config, variants):
    monkeypatch.setitem(_layer_models.CONFIGS, name, (config, Recipe(epochs=1)))
    words = f"--models {name} --forget 1 --seeds 2 --learning-rates 1e-4 1e-3 --epochs 1"
    status, printed, _ = run(f"{words} --samples 20 --out there")
    assert status == 0
    assert "conflict of each layer" in printed
    assert (tmp_path / "there" / "layers.png").stat().st_size
    assert (tmp_path / "there" / "layers.md").read_text().strip() in printed
    content = json.loads((tmp_path / "there" / "layers.json").read_text())
    expected = ["before", "global", "private", "remove", "salient", *variants]
    assert [record["variant"] for record in content["runs"]] == expected
    assert np.shape(content["runs"][1]["share"]) == (2, 2)
    whole = [record for record in content["layers"] if record["window"] is None]
    assert np.allclose(sum(np.array(record["part"]) for record in whole), 1.0, atol=1e-4)
    assert bool(len(content["layers"]) - len(whole)) == (name == "diffusion")


def test_models_are_those_of_the_gallery_and_of_the_diffusion_study():
    page = (tiny_study.ROOT / "docs" / "gallery" / "layers.md").read_text()
    config, _ = layers.CONFIGS["mlp_vae"]
    assert f"widths={config.widths}, latent_size={config.latent_size}" in page
    assert layers.CONFIGS["diffusion"][0] == diffusion.DIGITS.model
