"""Functions of the user, named in a request as `MODULE:FUNCTION`, and what they describe."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsu_jax.data import Dataset, ForgetWhere, Request
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.removal._request_file import RemovalRequest
from gsu_jax.storage import load_any


def find_function(name: str, folder: str | os.PathLike) -> Callable[..., Any]:
    """Returns the function `MODULE:FUNCTION` of a module in `folder`, or of an installed one.

    Raises:
        ValueError: There is no such module or function, or importing the module fails.
    """
    module, _, attribute = name.partition(":")
    if os.fspath(folder) not in sys.path:
        sys.path.insert(0, os.fspath(folder))
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:
        raise ValueError(
            f"{name}: module {module} cannot be imported from {folder} "
            f"({type(error).__name__}: {error})"
        ) from error
    if not callable(found):
        raise ValueError(f"{name}: module {module} has no function {attribute}")
    return found


def call_function(name: str, folder: str | os.PathLike, *arguments: Any) -> Any:
    """Returns what the function returns.

    Raises:
        ValueError: As in `find_function`, or the function raises.
    """
    function = find_function(name, folder)
    try:
        return function(*arguments)
    except Exception as error:
        raise ValueError(f"{name} failed: {type(error).__name__}: {error}") from error


def forget_of(request: RemovalRequest, folder: str | os.PathLike) -> Request:
    """Returns what a request wants forgotten; its predicate is a function of a module."""
    if request.what != "predicate":
        return request.forget

    def predicate(dataset: Dataset) -> np.ndarray:
        mask = np.asarray(call_function(request.value, folder, dataset))
        if mask.dtype != bool or mask.shape != (len(dataset),):
            raise ValueError(
                f"what.predicate {request.value} must return a boolean for each of "
                f"{len(dataset)} images, got {mask.dtype} {list(mask.shape)}"
            )
        return mask

    return ForgetWhere(predicate, "images of a predicate")


def load_model(name: str, folder: str | os.PathLike) -> GenerativeModel:
    """Returns the model of `MODULE:FUNCTION`, a module in `folder` or an installed one.

    Raises:
        ValueError: There is no such function, or it returns no model.
    """
    model = call_function(name, folder)
    if not isinstance(model, GenerativeModel):
        raise ValueError(f"model {name} must return a GenerativeModel, got {type(model).__name__}")
    return model


def load_params(path: Path, model: GenerativeModel) -> Params:
    """Returns the parameters of a checkpoint of `model`."""
    return load_any(path, jax.eval_shape(model.init, jax.random.key(0)))
