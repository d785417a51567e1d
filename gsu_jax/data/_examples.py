"""Examples: what one training example is. Images, or a pytree of arrays with one leading axis."""

from typing import Any

import jax
import numpy as np

from gsu_jax.data._images import check_images, scale_images

Examples = Any  # an array of images, or a pytree of arrays [n, ...]


def check_examples(examples: Examples, argument: str) -> Examples:
    """Returns `examples` with arrays as leaves, after checking them.

    An array, or a list of arrays, holds images and must pass `check_images`. In another pytree (a
    dict, a tuple) only the leading axis is checked: its leaves may be labels, captions as token
    numbers, latents, images of any range.

    Args:
        examples: Images `[n, height, width, channels]`, or a pytree of arrays `[n, ...]`.
        argument: The name of the argument, for errors.

    Raises:
        TypeError: A leaf is not numeric.
        ValueError: There are no examples, leaves differ in length, or images fail `check_images`.

    Example:
        >>> examples = {"image": np.zeros((3, 8, 8, 1), np.uint8), "label": [0, 1, 1]}
        >>> try:
        ...     check_examples(examples, "forget")
        ... except ValueError as error:
        ...     print(str(error)[:58])
        forget: all leaves must have one leading axis of examples,
    """
    if is_images(examples) or isinstance(examples, list):  # a list of images is stacked
        return check_images(_stack(examples, argument), argument)
    leaves, structure = jax.tree.flatten(examples)
    arrays = [leaf if isinstance(leaf, jax.Array) else np.asarray(leaf) for leaf in leaves]
    if not arrays or any(np.ndim(x) == 0 for x in arrays) or len({len(x) for x in arrays}) != 1:
        shapes = structure.unflatten([np.shape(x) for x in arrays])
        raise ValueError(
            f"{argument}: all leaves must have one leading axis of examples, got shapes {shapes}; "
            "give arrays, such as {'image': images, 'label': labels} with len(images) labels"
        )
    if not len(arrays[0]):
        raise ValueError(f"{argument} is empty; expected at least one example")
    for x in arrays:
        if x.dtype.kind not in "biufcV" or x.dtype.names:  # V: bfloat16
            raise TypeError(
                f"{argument}: leaves must be arrays of numbers, got {x.dtype}; encode text as "
                "token numbers first"
            )
    return structure.unflatten(arrays)


def _stack(images: Any, argument: str) -> Any:
    """Returns images as an array; raises ValueError for what is none, and says what to give."""
    if isinstance(images, list):
        first = images[0] if images else None
        is_tree = isinstance(first, dict | tuple) and any(map(is_images, jax.tree.leaves(first)))
        if is_tree or (is_images(first) and np.ndim(first) == 4):
            raise ValueError(
                f"{argument} must be one array or one pytree of arrays, got a list of "
                f"{len(images)} {type(first).__name__}s. Of batches give iter(batches) as the "
                "retain of unlearn, or join them, as np.concatenate does"
            )
        if len(shapes := {np.shape(image): None for image in images if is_images(image)}) > 1:
            first, second, *_ = shapes
            raise ValueError(f"{argument}: images must have one shape, got {first} and {second}")
        images = np.asarray(images)
    if np.ndim(images) != 4:
        gray = " Gray images need a last axis of 1: images[..., None]." * (np.ndim(images) == 3)
        raise ValueError(
            f"{argument} must be images with four axes [n, height, width, channels], got shape "
            f"{np.shape(images)}.{gray} Examples that are not images are given as a pytree, such "
            "as {'latents': array}; the model's loss gets a batch of it"
        )
    return images


def check_pair(forget: Examples, retain: Examples) -> None:
    """Raises ValueError unless the examples of both sets have one structure and one shape."""
    kinds = [jax.tree.map(lambda x: np.shape(x)[1:], examples) for examples in (forget, retain)]
    structures = [jax.tree.structure(examples) for examples in (forget, retain)]
    if structures[0] != structures[1] or kinds[0] != kinds[1]:
        what = "images" if is_images(forget) and is_images(retain) else "examples"
        raise ValueError(
            f"forget and retain must hold {what} of one shape, got {kinds[0]} and {kinds[1]}"
        )


def scale_examples(examples: Examples) -> Examples:
    """Scales uint8 images among `examples` to floats in [0, 1]; all else stays as it is.

    An array is an array of images, see `scale_images`. In a pytree, a uint8 leaf with four axes
    `[n, height, width, channels]` is.

    Example:
        >>> batch = {"image": np.full((1, 1, 1, 1), 255, np.uint8), "label": np.array([7])}
        >>> jax.tree.map(lambda x: x.ravel().tolist(), scale_examples(batch))
        {'image': [1.0], 'label': [7]}
    """
    if is_images(examples):
        return scale_images(examples)
    return jax.tree.map(lambda x: scale_images(x) if _is_stored_image(x) else x, examples)


def join_examples(forget: Examples, retain: Examples, padding: int) -> Examples:
    """Returns both sets, one after the other, and `padding` zeros, as NumPy arrays.

    If only one set is uint8, its images become float32 in [0, 1].
    """

    def join(a: jax.Array | np.ndarray, b: jax.Array | np.ndarray) -> np.ndarray:
        if a.dtype != b.dtype and (_is_stored_image(a) or _is_stored_image(b)):
            a, b = (np.asarray(scale_images(x), np.float32) for x in (a, b))
        a, b = np.asarray(a), np.asarray(b)
        end = np.zeros((padding, *a.shape[1:]), a.dtype)
        return np.concatenate([a, b, end], dtype=np.result_type(a, b))

    return jax.tree.map(join, forget, retain)


def number_of(examples: Examples) -> int:
    """Returns the number of examples."""
    return len(jax.tree.leaves(examples)[0])


def is_images(examples: Examples) -> bool:
    """Returns whether the examples are an array of images, not a pytree of other things."""
    return hasattr(examples, "shape") and hasattr(examples, "dtype")


def _is_stored_image(leaf: jax.Array | np.ndarray) -> bool:
    return leaf.dtype == np.uint8 and np.ndim(leaf) == 4
