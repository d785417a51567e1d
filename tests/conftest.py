"""Settings of the whole suite: eight simulated CPU devices, and where the real data lies."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(scope="session")
def tfds_dir() -> Path:
    """The folder with data sets in TFDS layout, or a skip that says how to give one."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "tensorflow_datasets"
    folder = Path(os.environ.get("TFDS_DATA_DIR") or beside)
    if not (folder / "mnist").is_dir():
        pytest.skip(f"no TFDS data under {folder}: set TFDS_DATA_DIR to a prepared folder")
    return folder
