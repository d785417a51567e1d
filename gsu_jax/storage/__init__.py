"""Files that are whole or refused: atomic writes, checkpoints, locks."""

from gsu_jax.storage._atomic import write_whole
from gsu_jax.storage._checkpoints import exists, load, read_metadata, remove, save
from gsu_jax.storage._lock import exclusive
from gsu_jax.storage._manifest import CheckpointError

__all__ = [
    "CheckpointError",
    "exclusive",
    "exists",
    "load",
    "read_metadata",
    "remove",
    "save",
    "write_whole",
]
