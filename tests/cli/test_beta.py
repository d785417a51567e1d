"""--beta trains the VAE of an experiment with another weight of the KL term."""

import sys
from dataclasses import replace

import pytest
from tiny_study import tiny_config

from gsu_jax.cli import _experiment as experiment
from gsu_jax.models import MLPDiffusionConfig

VAE = tiny_config(epochs=1)
DIFFUSION = tiny_config(model=MLPDiffusionConfig((8, 8, 1), coordinates=8, width=8, depth=1))


@pytest.fixture
def config_of(monkeypatch, tmp_path):
    """Returns the study that a command line would run; it is not run."""
    monkeypatch.chdir(tmp_path)
    seen = []

    def remember(config, source, out, **options):
        seen.append(config)
        raise OSError("stop here")

    monkeypatch.setattr(experiment, "run_study", remember)

    def run(words, config=VAE):
        monkeypatch.setattr(sys, "argv", ["experiment.py", *words.split()])
        with pytest.raises(SystemExit):
            experiment.main(config, seeds=1)
        return seen.pop() if seen else None

    return run


def test_beta_is_that_of_the_model_and_of_its_record(config_of):
    found = config_of("--beta 4")
    assert found == replace(VAE, model=replace(VAE.model, beta=4.0))
    assert found.record()["model"]["beta"] == 4.0


def test_without_the_option_the_study_is_that_of_the_experiment(config_of):
    assert config_of("") == VAE
    assert config_of("", DIFFUSION) == DIFFUSION


@pytest.mark.parametrize(
    ("config", "words", "parts"),
    [
        (DIFFUSION, "--beta 4", ["--beta 4", "MLPDiffusionConfig", "leave --beta out"]),
        (VAE, "--beta -1", ["beta", "at least 0", "-1"]),
        (VAE, "--beta much", ["--beta", "'much'"]),
    ],
)
def test_beta_that_cannot_be_is_one_line(config_of, capsys, config, words, parts):
    assert config_of(words, config) is None
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    for part in parts:
        assert part in errors
