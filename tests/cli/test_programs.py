"""Compiled programs of the experiments are kept on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_study

from gsu_jax.cli import _programs as programs

SCRIPT = """
import json, sys
from dataclasses import dataclass
import jax, jax.numpy as jnp
from gsu_jax.cli import run_command

@dataclass(frozen=True)
class Arguments:
    program_cache: bool = True

def run(arguments):
    function = jax.jit(lambda x: jnp.linalg.svd(jnp.sin(x @ x.T))[1])
    found = function(jax.random.normal(jax.random.key(0), (32, 16)))
    return json.dumps([jax.config.jax_compilation_cache_dir, found.tolist()])

run_command(run, Arguments())
"""


@pytest.fixture
def run(tmp_path):
    """Runs a program with a cache in this folder: what it printed, its standard error."""

    def run(*words, **variables):
        environment = tiny_study.ENVIRONMENT | {
            "GSU_JAX_CACHE_DIR": str(tmp_path / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *words],
            capture_output=True,
            text=True,
            env=environment | variables,
        )
        assert done.returncode == 0, done.stderr
        return *json.loads(done.stdout), done.stderr

    return run


def test_programs_are_kept_said_once_and_give_the_same_bits(run, tmp_path):
    folder, first, said = run()
    assert Path(folder).is_relative_to(tmp_path / "cache" / "programs")
    assert said == f"compiled programs are kept in {folder}; --no-program-cache turns this off\n"
    entries = {path.name for path in Path(folder).glob("*-cache")}
    assert entries
    _, second, said = run()
    assert said == ""
    assert {path.name for path in Path(folder).glob("*-cache")} == entries
    _, without, _ = run("--no-program-cache")
    assert first == second == without


def test_flag_turns_it_off(run, tmp_path):
    folder, _, said = run("--no-program-cache")
    assert (folder, said) == (None, "")
    assert not (tmp_path / "cache").exists()


def test_folder_of_the_environment_wins(run, tmp_path):
    folder, _, said = run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert (folder, said) == (str(tmp_path / "own"), "")
    assert not (tmp_path / "cache").exists()


def test_folder_that_cannot_be_written_is_a_warning(run, tmp_path):
    (tmp_path / "file").write_text("")
    folder, _, said = run(GSU_JAX_CACHE_DIR=str(tmp_path / "file"))
    assert folder is None
    assert said.startswith("warning: compiled programs are not kept: ")
    assert said.count("\n") == 1


def test_folder_is_in_the_users_cache_and_one_for_each_processor(monkeypatch):
    monkeypatch.delenv("GSU_JAX_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.abspath("there"))
    folder = programs.program_folder()
    assert folder.parent == Path("there").absolute() / "gsu_jax" / "programs"
    monkeypatch.setattr(programs, "_processor", lambda: "other")
    assert programs.program_folder() != folder
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert programs.program_folder() == Path("/home/someone/.cache/gsu_jax/programs/other")
