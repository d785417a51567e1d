"""Parameters that a study is given, in place of pre-training its baseline."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gsu_jax.models import GenerativeModel
from gsu_jax.runtime import to_host


def check_given(before: Mapping[int, Any], model: GenerativeModel, seeds: int) -> dict[int, Any]:
    """Returns given parameters in the containers of `model.init`, as NumPy arrays.

    Raises:
        TypeError: `before` is not a mapping.
        ValueError: a seed lacks parameters, or they are not of this model.
    """
    if not isinstance(before, Mapping):
        raise TypeError(f"before must be {{seed: params}}, got {type(before).__name__}")
    if set(before) != set(range(seeds)):
        raise ValueError(
            f"before must give parameters for each seed of the study, {list(range(seeds))}, got "
            f"{list(before)}; several seeds may share one set of parameters"
        )
    like = jax.eval_shape(model.init, jax.random.key(0))
    return {seed: _as_model_has_them(params, like, seed) for seed, params in before.items()}


def digest(params: Any) -> str:
    """Returns a hash of parameters: of their names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name, leaf in _by_name(params).items():
        found.update(f"{name} {leaf.dtype.name} {leaf.shape}".encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()[:16]


def _as_model_has_them(params: Any, like: Any, seed: int) -> Any:
    given = {name: np.asarray(leaf) for name, leaf in _by_name(to_host(params)).items()}
    wanted = _by_name(like)
    fix = "give the parameters of this model, as model.init(key) has them"
    if missing := wanted.keys() - given.keys():
        raise ValueError(f"before[{seed}] has no leaf {min(missing)!r}; {fix}")
    if extra := given.keys() - wanted.keys():
        raise ValueError(
            f"before[{seed}] has a leaf {min(extra)!r}, which the model has not; {fix}"
        )
    for name, leaf in wanted.items():
        got = given[name]
        if (got.shape, got.dtype) != (leaf.shape, leaf.dtype):
            raise ValueError(
                f"before[{seed}]: leaf {name!r} must be {leaf.dtype.name}{list(leaf.shape)}, got "
                f"{got.dtype.name}{list(got.shape)}; {fix}"
            )
    leaves = [given[name] for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _by_name(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
