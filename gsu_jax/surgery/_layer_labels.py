"""Labels that say which leaves of a tree form one layer."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gsu_jax.checks import at_least, at_most, choice, integer, is_traced
from gsu_jax.surgery._tree_checks import Tree, leaf_paths

Labels = str | Callable[[str], str] | Tree


def layer_labels(params: Tree, labels: Labels = "module") -> Tree:
    """Returns a tree of labels: leaves with equal labels form one layer.

    Args:
        params: A tree of arrays, or of their shapes.
        labels: "module", the arrays with one parent, such as kernel and bias; "leaf", each array;
            "global", all of them; a function of the path of a leaf, such as "decoder/0/kernel"; or
            a tree of labels, with the structure of `params` or a prefix of it.

    Returns:
        A tree with the structure of `params` and a string at each leaf. It is a `scope` of
        `project_conflicting`.

    Raises:
        ValueError: `labels` is an unknown word, or no tree of labels for `params`.
        TypeError: A label is not a string.

    Example:
        >>> import jax.numpy as jnp
        >>> weights = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
        >>> layer_labels({"encoder": weights, "decoder": weights})["decoder"]
        {'bias': 'decoder', 'kernel': 'decoder'}
        >>> layer_labels({"encoder": weights}, lambda path: path.split("/")[-1])["encoder"]
        {'bias': 'bias', 'kernel': 'kernel'}
    """
    return jax.tree.structure(params).unflatten(labels_of_leaves(params, labels))


def labels_of_leaves(params: Tree, labels: Labels) -> list[str]:
    """Returns the label of each leaf of `params`; see `layer_labels`."""
    check_labels(labels)
    if isinstance(labels, str):
        name = {"module": _parent, "leaf": str, "global": lambda path: "global"}[labels]
        return [name(path) for path in _paths(params)]
    paths = _paths(params)
    if callable(labels):
        found = [labels(path) for path in paths]
    else:
        found = broadcast_labels("labels", labels, params)
    for path, label in zip(paths, found, strict=True):
        if not isinstance(label, str):
            raise TypeError(f"labels must be strings, got {label!r} at the leaf {path}")
    return found


def check_labels(labels: Labels) -> None:
    """Raises ValueError for a word that names no layers."""
    if isinstance(labels, str):
        choice(("module", "leaf", "global"), "a tree or a function", labels=labels)


def broadcast_labels(name: str, labels: Tree, tree: Tree) -> list[Any]:
    """Returns the label of each leaf of `tree` from a tree of labels, or a prefix of one."""
    structure = jax.tree.structure(tree)
    try:
        return structure.flatten_up_to(jax.tree.broadcast(labels, tree))
    except ValueError as error:
        raise ValueError(
            f"{name} is not a tree of labels for the updates ({error}); give one label per leaf, "
            f"or per branch, of {structure}"
        ) from None


def conflict_labels(
    scores: Mapping[str, float], k: int, labels: Tree | None = None, *, shared: str = "rest"
) -> Tree:
    """Returns labels under which the k layers of largest score stand alone (Recon).

    The k layers keep their labels. All others get the label `shared`. As the `scope` of
    `project_conflicting`, the labels remove the conflict of each of the k layers on its own; the
    quiet layers share one inner product.

    Args:
        scores: A score for each label, such as `LayerConflictsState.scores`. Of equal scores, the
            first comes first.
        k: The number of layers that stand alone.
        labels: The tree of labels of the scores, as `layer_labels` returns it.
        shared: The label of all other layers.

    Returns:
        `labels` with the new labels. Without `labels`, a dict of old to new labels; that is a
        `scope` by itself if the labels are the first keys of the parameters.

    Raises:
        ValueError: `k` is below 0 or above the number of layers, a score is NaN or traced,
            `shared` is the label of a layer, or `labels` has a label without a score.
        TypeError: `scores` is no dict, or `k` no integer.

    Example:
        >>> conflict_labels({"encoder": 3, "latent": 31, "decoder": 17}, 1)
        {'encoder': 'rest', 'latent': 'latent', 'decoder': 'rest'}

    References:
        Shi et al., `Recon: Reducing Conflicting Gradients from the Root for Multi-Task Learning
        <https://arxiv.org/abs/2302.11289>`_, 2023.
    """
    if not isinstance(scores, Mapping):
        raise TypeError(
            f"scores must be {{label: number}}, got a {type(scores).__name__}; "
            "LayerConflictsState has .scores"
        )
    integer(k=k)
    at_least(0, k=k)
    at_most(len(scores), k=k)
    if shared in scores:
        raise ValueError(f"shared must be no label of a layer, got {shared!r}")
    for label, score in scores.items():
        if is_traced(score) or np.isnan(score):
            raise ValueError(
                f"scores must be known numbers, got {score!r} for {label!r}; labels are fixed "
                "before a step is compiled: measure outside jit"
            )
    alone = sorted(scores, key=lambda label: -float(scores[label]))[:k]
    renamed = {label: label if label in alone else shared for label in scores}
    if labels is None:
        return renamed
    for label in jax.tree.leaves(labels):
        if label not in renamed:
            raise ValueError(f"labels has {label!r}, which has no score; scores: {[*scores]}")
    return jax.tree.map(renamed.__getitem__, labels)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "(root)"


def _paths(params: Tree) -> list[str]:
    """The path of each leaf; that of a Flax NNX variable, not of the value in it."""
    paths = leaf_paths(params)
    outer = jax.tree.leaves(params, is_leaf=_is_nnx_variable)
    if len(outer) != len(paths):  # a variable of several arrays
        return paths
    return [
        path.rpartition("/")[0] if _is_nnx_variable(node) else path
        for path, node in zip(paths, outer, strict=True)
    ]


def _is_nnx_variable(node: Any) -> bool:
    # By name, so that Flax is not imported.
    return any(
        base.__name__ == "Variable" and base.__module__.startswith("flax.nnx")
        for base in type(node).__mro__
    )
