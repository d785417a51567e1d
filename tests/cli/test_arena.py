"""The command line of `experiments/arena.py`."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_study

from gsu_jax import study
from gsu_jax.cli.experiments import arena
from gsu_jax.study import DIFFUSION_SPACES, SPACES, ArenaResults

EXPERIMENTS = tiny_study.ROOT / "experiments"


SCRIPT = "arena.py"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--trials 0", "trials must be at least 1, got 0"),
        ("--seeds x", "--seeds"),
        ("--trails 5", "--trails. Did you mean '--trials'?"),
        ("--methods uno,uno_s", "--methods uno uno_s"),
        ("--methods un", "'un'. Did you mean 'uno'?"),
        ("--methods retrain", "--methods: unknown method 'retrain'"),
        ("--closed 1", "'1' and '1'"),
        ("--tuning 11", "'11'"),
        ("--time-limit -1", "--time-limit must be above 0"),
        ("--model diffusion --methods redirect_flow", "--methods: unknown method 'redirect_flow'"),
        ("--model gan", "--model"),
        (
            "--model diffusion --dataset mnist",
            "--model diffusion takes --dataset digits, got mnist",
        ),
        ("--dataset photos", "--dataset photos needs --tuning and --closed"),
        ("--dataset mnist --data-dir nowhere", "--dataset mnist: "),
        ("--models-from nowhere", "--models-from nowhere"),
    ],
)
def test_mistake_ends_in_one_message_and_status_2(refuses, words, message):
    assert refuses(words, message)


@pytest.fixture
def asked(monkeypatch):
    """What the command line asks of `run_arena`, which runs nothing."""
    seen = []

    def remember(config, source, out, **options):
        seen.append((config, out, options))
        return ArenaResults({}, {})

    monkeypatch.setattr(study, "run_arena", remember)
    monkeypatch.setattr(arena, "arena_text", lambda found: "the table")
    return seen


def test_arena_gives_all_methods_twenty_trials_and_five_seeds(run, asked):
    status, printed, _ = run("")
    assert status == 0
    assert printed.splitlines() == [
        "the table",
        "",
        f"table: {Path('runs/arena-digits/arena.md')}",
        f"front: {Path('runs/arena-digits/front.png')}",
    ]
    ((config, out, options),) = asked
    assert (config.experiment, config.ensemble, out) == ("arena", 8, Path("runs/arena-digits"))
    assert options["methods"] == tuple(SPACES)
    assert (options["trials"], options["tuning_seeds"], options["seeds"]) == (20, 1, 5)
    assert not options["defaults"]
    assert (options["tuning"], options["closed"]) == (("1", "3", "6"), ("4", "5", "7", "9"))
    assert options["aims"].seconds is None
    assert (config.phi_images, options["tuning_config"].phi_images) == (128, 32)


def test_arena_of_a_diffusion_model_has_its_methods_and_the_same_requests(run, asked):
    assert run("--model diffusion --defaults")[0] == 0
    ((config, out, options),) = asked
    assert (type(config.model).__name__, config.experiment) == ("MLPDiffusionConfig", "arena")
    assert out == Path("runs/arena-diffusion-digits")
    assert options["methods"] == tuple(DIFFUSION_SPACES)
    assert (options["tuning"], options["closed"]) == arena.ARENAS["digits"][1:]
    assert options["defaults"]


def test_options_say_what_is_run(run, asked):
    words = "--methods uno siss uno --tuning 0 --closed 1 2 --trials 4 --ensemble 3 --time-limit 2"
    assert run(words + " --out there")[0] == 0
    ((config, out, options),) = asked
    assert (config.ensemble, out) == (3, Path("there"))
    assert (options["methods"], options["trials"]) == (("uno", "siss"), 4)
    assert (options["tuning"], options["closed"]) == (("0",), ("1", "2"))
    assert options["aims"].seconds == 0.02


def test_quick_arena_is_small_and_says_that_it_means_nothing(run, asked):
    status, printed, _ = run("--quick")
    assert status == 0
    assert printed.startswith("--quick: a smoke test, the figures mean nothing\n")
    ((config, out, options),) = asked
    assert (config.pretraining.epochs, out) == (2, Path("runs/arena-digits-quick"))
    assert (options["trials"], options["seeds"], len(options["methods"])) == (2, 1, 2)
    assert (options["tuning"], options["closed"]) == (("1",), ("4", "5"))


def test_images_of_ones_own_get_networks_that_fit(run, asked, monkeypatch):
    monkeypatch.setitem(arena.ARENAS, "digits", None)
    assert run("--tuning 0 --closed 1 2")[0] == 0
    ((config, _, options),) = asked
    assert (config.experiment, config.pretraining.epochs) == ("arena", 182)
    assert (options["tuning"], options["closed"]) == (("0",), ("1", "2"))


def test_requests_of_digits_are_those_of_the_lot():
    lot = random.Random("gsu_jax arena, digits 8x8, 2026-11-29")
    rest = ["0", *map(str, range(2, 10))]
    closed = sorted(lot.sample(rest, 4))
    tuning = ["1", *sorted(lot.sample([digit for digit in rest if digit not in closed], 2))]
    assert arena.ARENAS["digits"][1:] == (tuple(tuning), tuple(closed))


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_closed_requests_are_those_of_the_lot_of_the_second_form(dataset):
    notes = (tiny_study.ROOT / "docs" / "notes" / "redirect_second_form.md").read_text()
    lines = [line for line in notes.splitlines() if line.startswith("| closed until")]
    assert ", ".join(arena.ARENAS[dataset].closed) in lines[0]
    assert not {*arena.ARENAS[dataset].tuning} & {*arena.ARENAS[dataset].closed}


@pytest.mark.slow
def test_quick_arena_of_digits_goes_the_whole_way_and_answers_again_at_once(tmp_path):
    words = [sys.executable, str(EXPERIMENTS / "arena.py"), "--quick", "--out", str(tmp_path)]
    options = {"capture_output": True, "text": True, "env": tiny_study.ENVIRONMENT}
    first = subprocess.run(words, **options)
    assert first.returncode == 0, first.stderr
    rows = [line.split()[0] for line in first.stdout.split("\n\n")[1].splitlines()]
    assert {*rows} == {"method", "gradient_ascent", "gradient_surgery", "before", "retrained"}
    for name in ("chosen.json", "arena.json", "arena.md", "arena.csv", "front.png"):
        assert (tmp_path / name).stat().st_size
    again = subprocess.run(words, **options)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert "train" not in again.stderr
    refused = subprocess.run([*words, "--tuning", "3"], **options)
    assert refused.returncode == 2
    assert "no setting can be chosen again" in refused.stderr
