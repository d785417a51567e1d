"""`gsu-jax series`: requests one after the other."""

import pytest

SCRIPT = "series.py"
pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--dataset digit", "'digit'. Did you mean 'digits'?"),
        ("--requests 1", "requests must be at least 2, got 1"),
        ("--learning-rate 1", "--learning-rate must be in (0, 1), got 1"),
        ("--kind classes --requests 10", "--requests must leave a class of 10, got 10"),
        ("--images 1000", "--requests 10 of --images 1000 do not fit"),
        ("--image 10", "--image. Did you mean '--images'"),
    ],
)
def test_mistake_ends_in_one_line_and_status_2(refuses, words, message):
    assert refuses(words, message)


@pytest.mark.slow
def test_series_answers_each_request_and_resumes(run):
    words = (
        "--requests 2 --images 10 --method fine_tune --learning-rate 1e-2 --train-epochs 2 "
        "--epochs 1 --samples 100 --out out --no-program-cache"
    )
    status, printed, errors = run(words)
    assert (status, errors) == (0, "")
    assert "union" in printed
    again, same, _ = run(words)
    assert again == 0
    assert same.splitlines()[:-1] == printed.splitlines()[:-1]
    status, _, errors = run(words.replace("1e-2", "2e-2"))
    assert status == 2
    assert "--out out was begun with --learning-rate 0.01, now 0.02" in errors
