"""Files that are whole or refused: atomic writes, checkpoints, artifacts, a folder's lock."""

from gsu_jax.storage._artifacts import Artifacts, check_lender, differences
from gsu_jax.storage._atomic import write_whole
from gsu_jax.storage._checkpoints import exists, load, read_metadata, remove, save
from gsu_jax.storage._foreign import load_any
from gsu_jax.storage._lock import exclusive
from gsu_jax.storage._manifest import CheckpointError

__all__ = [
    "Artifacts",
    "CheckpointError",
    "check_lender",
    "differences",
    "exclusive",
    "exists",
    "load",
    "load_any",
    "read_metadata",
    "remove",
    "save",
    "write_whole",
]
