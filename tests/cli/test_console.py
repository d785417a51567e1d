"""`gsu-jax`: its help, its commands, and what it says to a mistake."""

import importlib
import subprocess
import sys
import time
import tomllib

import pytest
import tiny_study
from PIL import Image

import gsu_jax
from gsu_jax.cli import _console as command
from gsu_jax.cli import experiments

EXPERIMENTS = tiny_study.ROOT / "experiments"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line: exit status, standard output, standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["gsu-jax", *words])
        status = 0
        try:
            command.console()
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


def test_help_lists_every_command_in_half_a_second_without_jax():
    code = "import sys; from gsu_jax.cli import console\ntry: console()\nfinally: "
    code += "print(*{'jax', 'numpy', 'tyro'} & sys.modules.keys(), file=sys.stderr)"
    start = time.perf_counter()
    shown = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        capture_output=True,
        text=True,
        env=tiny_study.ENVIRONMENT,
    )
    assert time.perf_counter() - start < 0.5
    assert (shown.returncode, shown.stderr) == (0, "\n")
    for name in command.COMMANDS:
        assert f"\n  {name} " in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100


def test_version_is_that_of_the_package(run):
    assert run("--version") == (0, f"gsu-jax {gsu_jax.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["digts"], ["'digts'", "Did you mean 'digits'?", "mnist138"]),
        (["nothing-like-it"], ["'nothing-like-it'", "digits"]),
        ([], ["which command?", "digits"]),
        (["--nonsense"], ["'--nonsense'"]),
        (["digits", "--seeds", "0", "--out", "nowhere"], ["seeds", "0"]),
        (["theory", "--out", __file__], ["--out", __file__]),
        (["report", "nowhere"], ["nowhere"]),
        (["launch", "--processes", "2", "nothing"], ["nothing"]),
    ],
)
def test_mistake_ends_in_one_line_and_status_2(run, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    status, printed, errors = run(*words)
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    for part in parts:
        assert part in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", command.COMMANDS)
def test_command_has_a_module_with_main(name):
    assert callable(importlib.import_module(command.COMMANDS[name][0]).main)


def test_every_experiment_is_a_command_and_a_thin_script():
    assert list(command.EXPERIMENTS) == sorted(
        command.EXPERIMENTS, key=list(command.COMMANDS).index
    )
    assert set(command.EXPERIMENTS) == set(experiments.__all__)
    scripts = {path.stem: path.read_text() for path in EXPERIMENTS.glob("*.py")}
    assert set(scripts) == set(command.EXPERIMENTS)
    for name, text in scripts.items():
        assert f'console("{name}")' in text
        assert len(text.splitlines()) < 25


def test_interruption_while_a_command_is_imported_is_no_traceback(run, monkeypatch):
    def interrupted(module):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "import_module", interrupted)
    assert run("digits") == (130, "", "\ninterrupted\n")


# Runs a script, and sends itself the signal of Ctrl-C when the script imports a part of JAX.
INTERRUPTED = """
import os, runpy, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "jax.numpy":
            os.kill(os.getpid(), signal.SIGINT)

# A run of the tests in the background ignores SIGINT, and so would its child.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_signal_while_jax_is_imported_is_no_traceback(tmp_path):
    script = EXPERIMENTS / "digits.py"
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(script), "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
        env=tiny_study.ENVIRONMENT,
        timeout=60,
    )
    assert ended.returncode == 130
    assert ended.stderr.startswith("\ninterrupted")
    assert ended.stderr.count("\n") == 2
    assert not (tmp_path / "out").exists()


def test_missing_package_is_named_with_the_extra_that_has_it(run, monkeypatch):
    def missing(module):
        raise ModuleNotFoundError("No module named 'orbax'")

    monkeypatch.setattr(command, "import_module", missing)
    status, _, errors = run("digits")
    assert status == 2
    assert "orbax" in errors
    assert "gsu-jax[experiments]" in errors


def test_console_script_is_this_function():
    project = tomllib.loads((tiny_study.ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"gsu-jax": "gsu_jax.cli:console"}


WITHOUT = """
import sys

missing = sys.argv.pop(1)

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Forbidden())
from gsu_jax.cli import console
console()
"""


@pytest.mark.parametrize("missing", ["tyro", "flax", "PIL", "rich"])
def test_missing_package_is_named_with_the_line_that_installs_it(tmp_path, missing):
    for name in ("dark", "bright"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("L", (8, 8), 50 * i).save(tmp_path / "photos" / name / f"{i}.png")
    words = ["run", "photos", "--forget", "dark", "--no-program-cache"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, missing, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=tiny_study.ENVIRONMENT | {"GSU_JAX_CACHE_DIR": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert f"'{missing}" in done.stderr
    assert done.stderr.count('pip install "gsu-jax[experiments]"') == 1


def test_report_runs_without_tyro(tmp_path):
    code = "import sys; sys.modules['tyro'] = None; from gsu_jax.cli import console; console()"
    shown = subprocess.run(
        [sys.executable, "-c", code, "report", str(tmp_path)],
        capture_output=True,
        text=True,
        env=tiny_study.ENVIRONMENT,
    )
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith(f"error: there is no {tmp_path / 'results.json'}")
    assert shown.stderr.count("\n") == 1
