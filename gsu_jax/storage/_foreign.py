"""Checkpoints that other programs wrote with orbax."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsu_jax.storage._checkpoints import exists, load
from gsu_jax.storage._manifest import CheckpointError
from gsu_jax.storage._orbax_io import read_foreign


def load_any(path: str | os.PathLike, like: Any) -> Any:
    """Reads parameters that `save` or orbax wrote.

    Orbax's own checkpoints have no hash of their content: a changed byte may go unseen.

    Args:
        path: The folder of `save`, of an orbax checkpoint (`StandardCheckpointer`, `v1.save`), or
            of a step of a `CheckpointManager`.
        like: A tree of the same structure: arrays, or shapes and dtypes from `jax.eval_shape`.

    Returns:
        The tree, with JAX arrays as leaves.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
        ValueError: It holds another tree.

    Example:
        >>> import tempfile
        >>> from orbax.checkpoint import v1
        >>> folder = tempfile.mkdtemp() + "/theirs"
        >>> v1.save(folder, {"bias": np.ones(2, np.float32)})
        >>> load_any(folder, {"bias": jax.ShapeDtypeStruct((2,), np.float32)})
        {'bias': Array([1., 1.], dtype=float32)}
    """
    path = Path(path)
    if exists(path):
        return load(path, like)
    if not path.is_dir() or not any(path.iterdir()):
        raise CheckpointError(f"checkpoint {path} is empty or does not exist", "check the path")
    wanted = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    try:
        found = read_foreign(path, wanted)
    except ImportError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read as the parameters of this model "
            f"({type(error).__name__})",
            "it must be written by gsu_jax.storage.save or by orbax, with the tree of model.init",
        ) from error
    for (place, leaf), other in zip(
        jax.tree_util.tree_leaves_with_path(wanted), jax.tree.leaves(found), strict=True
    ):
        if (leaf.shape, leaf.dtype) != (np.shape(other), other.dtype):
            raise ValueError(
                f"checkpoint {path}: leaf {jax.tree_util.keystr(place, simple=True, separator='/')}"
                f" is {other.dtype}{list(np.shape(other))}, and the model has "
                f"{leaf.dtype}{list(leaf.shape)}; give the model that was trained"
            )
    return jax.tree.map(jax.numpy.asarray, found)
