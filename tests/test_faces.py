"""The experiment on faces: its images, its settings, and a small run."""

import json
import runpy
from dataclasses import replace

import numpy as np
import pytest
import tiny_study

from gsu_jax.data import load, parse_request
from gsu_jax.data._resize import resize_images
from gsu_jax.study import Recipe, run_study

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def script():
    """The names of experiments/faces.py."""
    return runpy.run_path(str(tiny_study.ROOT / "experiments" / "faces.py"))


@pytest.fixture(scope="module")
def faces_dir(tfds_dir):
    for name in ("fairface64", "sprites64"):
        if not (tfds_dir / name).is_dir():
            pytest.skip(f"no {name} under {tfds_dir}: set TFDS_DATA_DIR to a folder that has it")
    return tfds_dir


@pytest.fixture(scope="module")
def faces(faces_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return load("fairface64", data_dir=faces_dir, cache_dir=folder, image_size=32)


# Images


def test_half_size_takes_the_means_of_two_by_two_pixels():
    images = RNG.integers(0, 256, (3, 8, 8, 3), np.uint8)
    blocks = images.reshape(3, 4, 2, 4, 2, 3).astype(float)
    halved = resize_images(images, 4)
    assert halved.dtype == np.uint8
    np.testing.assert_allclose(halved, blocks.mean((2, 4)), atol=0.5)


def test_wide_image_is_cropped_to_its_center_first():
    images = RNG.random((2, 8, 12, 1)).astype(np.float32)
    means = images[:, :, 2:10].reshape(2, 4, 2, 4, 2, 1).mean((2, 4))
    np.testing.assert_allclose(resize_images(images, 4), means, atol=1e-6)


@pytest.mark.slow
def test_faces_at_32_are_the_means_of_those_at_64(faces, faces_dir, tmp_path):
    whole = load("fairface64", data_dir=faces_dir, cache_dir=tmp_path)
    assert faces.image_shape == (32, 32, 3)
    blocks = whole.test.images.reshape(-1, 32, 2, 32, 2, 3).mean((2, 4))
    np.testing.assert_allclose(faces.test.images, blocks, atol=0.5)


def test_decoded_images_are_mapped_from_the_cache(tmp_path):
    from PIL import Image

    for name in ("cat", "dog"):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for i in range(5):
            Image.fromarray(RNG.integers(0, 256, (6, 6, 3), np.uint8)).save(folder / f"{i}.png")
    for _ in range(2):  # decoded, then from the cache
        images = load(tmp_path / "pets", cache_dir=tmp_path / "cache").train.images
        owner = images
        while isinstance(owner, np.ndarray):
            owner = owner.base
        assert type(memoryview(owner).obj).__name__ == "mmap"
        assert not images.flags.writeable
    (entry,) = (tmp_path / "cache").glob("*.npz")
    entry.unlink()
    assert images.sum() > 0  # a file that is mapped outlives its name


def test_unknown_attribute_names_the_near_ones(faces):
    with pytest.raises(ValueError, match=r"'Mael'.*'Male'"):
        parse_request("Mael", faces)


# Settings


@pytest.mark.parametrize("size", [16, 32, 64])
def test_networks_fit_every_image_size(script, size):
    for name in ("CELEB_A", "FAIRFACE", "SPRITES"):
        config = script["adjust"](replace(script[name], image_size=size))
        assert config.model.inner_shape[:2] == (4, 4)
        assert config.model.image_shape == (size, size, 3)
        assert size % 2 ** (config.judge.halvings + 3) == 0


def test_literals_have_the_networks_of_their_image_size(script):
    for name in ("CELEB_A", "FAIRFACE", "SPRITES"):
        assert script["adjust"](script[name]).model == script[name].model


def test_gate_and_published_figures_are_those_of_the_attribute(script):
    male, smiling, heart = (
        script["adjust"](replace(script["CELEB_A"], forget=forget))
        for forget in ("Male", "Smiling", "shape=heart")
    )
    assert [config.judge_gate for config in (male, smiling, heart)] == [0.95, 0.75, 0.95]
    assert [config.published for config in (male, smiling, heart)] == [script["PAPER"], {}, {}]


def test_protocol_of_the_paper_is_beside_ours(script):
    methods = {method.title: method for method in script["METHODS"]}
    for name in ("gradient_ascent", "gradient_surgery", "feature_unlearning"):
        assert methods[f"{name}-1e-5"].learning_rate == 1e-5
        assert methods[f"{name}-1e-5"].name == name
        assert methods[name].learning_rate != 1e-5
    assert set(script["PAPER"]) < set(methods)


@pytest.mark.slow
def test_sprites_go_the_whole_way(script, faces_dir, tmp_path):
    config = replace(
        script["adjust"](replace(script["SPRITES"], forget="shape=heart", image_size=16)),
        pretraining=Recipe(2, 128, 3e-3, one_cycle=True),
        judging=Recipe(1, 64, 3e-3, one_cycle=True),
        judge_gate=0.5,
        samples=300,
        ensemble=1,
    )
    source = load("sprites64", data_dir=faces_dir, cache_dir=tmp_path / "cache", image_size=16)
    results = run_study(
        config, source, tmp_path / "out", methods=("before", "gradient_surgery"), seeds=1
    )
    assert [row["method"] for row in results["rows"]] == ["before", "gradient_surgery"]
    assert results["reference"]["feature_extractor"].startswith("ResNet18-8")
    assert results["rows"][0]["nelbo_retain"] < 0.7 * 16 * 16 * np.log(2)  # that of a fair coin
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
