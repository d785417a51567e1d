"""Settings of the whole suite: eight simulated CPU devices, and programs that compile fast.

Compilation takes most of the suite's time. So LLVM optimizes nothing unless `--optimize` is given,
and one run of the suite keeps its programs in a cache. The workers of pytest-xdist and the
processes that tests start share it.
"""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import jax
import pytest

from gsu_jax.runtime import ProgramCache, share_of_memory_maps

CACHE = "JAX_COMPILATION_CACHE_DIR"

jax.config.update("jax_num_cpu_devices", 8)


def pytest_addoption(parser) -> None:
    parser.addoption("--optimize", action="store_true", help="compile as users do, more slowly")


def pytest_configure(config) -> None:
    if CACHE not in os.environ:  # a worker inherits it
        folder = os.environ[CACHE] = tempfile.mkdtemp(prefix="gsu_jax-compiled-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    settings = {
        CACHE: os.environ[CACHE],
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": not config.getoption("--optimize"),
    }
    os.environ["GSU_JAX_PROGRESS"] = "off"  # tests compare whole standard errors
    for name, value in settings.items():
        os.environ[name] = str(value)  # for the processes that tests start
        jax.config.update(name.lower(), value)


@pytest.fixture(scope="module", autouse=True)
def release_programs():
    """Frees compiled programs before the process has all memory maps that Linux allows it."""
    yield
    if share_of_memory_maps() > 0.5:
        ProgramCache.default.clear()
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def tfds_dir() -> Path:
    """The folder with data sets in TFDS layout, or a skip that says how to name one."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not Path(folder, "mnist").is_dir():
        pytest.skip(f"no TFDS data in {folder}: set TFDS_DATA_DIR to a prepared folder")
    return Path(folder)


@pytest.fixture
def say(capsys, monkeypatch):
    """Runs a command of `gsu-jax removal`: exit status, standard output, standard error."""
    from gsu_jax.cli import _removal

    monkeypatch.setenv(CACHE, "set")  # the suite has its own

    def say(*words):
        try:
            status = _removal.main([str(word) for word in words])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return say
