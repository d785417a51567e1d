"""The small form of experiments/diffusion.py end to end, as a user runs it."""

import statistics
import subprocess
import sys

import pytest
import tiny_study

pytestmark = pytest.mark.slow

ROWS = ("before", "retrain", "gradient_surgery", "redirect_diffusion")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The results and the standard output of a run with one seed."""
    out = tmp_path_factory.mktemp("diffusion") / "out"
    script = str(tiny_study.ROOT / "experiments" / "diffusion.py")
    options = ["--dataset", "digits", "--seeds", "1", "--ensemble", "2", "--out", str(out)]
    command = [sys.executable, script, *options, "--methods", *ROWS]
    run = subprocess.run(command, capture_output=True, text=True, env=tiny_study.ENVIRONMENT)
    assert (run.returncode, run.stderr) == (0, "")
    return tiny_study.read(out), run.stdout


def mean(results, method, metric):
    return statistics.fmean(row[metric] for row in results["rows"] if row["method"] == method)


def test_samples_are_digits_of_every_class_and_a_retrained_model_draws_the_forgotten_one_rarely(
    digits,
):
    results, _ = digits
    assert 0.05 < mean(results, "before", "fratio") < 0.2
    assert mean(results, "retrain", "fratio") < 0.02
    # The ten classes are drawn evenly and surely: 9 or more of 10.
    assert mean(results, "before", "inception_score") > 7.0
    assert mean(results, "before", "coverage") > 0.9


def test_bound_of_the_forgotten_digit_rises_by_retraining_alone(digits):
    results, _ = digits
    before, retrained = (
        mean(results, name, "nelbo_forget") - mean(results, name, "nelbo_retain")
        for name in ("before", "retrain")
    )
    assert retrained > before + 10.0


def test_redirect_draws_the_digit_as_rarely_as_a_retrained_model_and_keeps_the_bound(digits):
    results, _ = digits
    assert mean(results, "redirect_diffusion", "fratio") < 0.015
    bound, retrained = (
        mean(results, name, "nelbo_retain") for name in ("redirect_diffusion", "retrain")
    )
    assert bound < 1.02 * retrained


def test_bits_per_dimension_are_printed(digits):
    _, printed = digits
    assert "bits per dimension of retained and of forgotten test images:\n  before: 6." in printed
