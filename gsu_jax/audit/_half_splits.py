"""Which images each shadow model is trained with."""

import numpy as np

from gsu_jax import checks


def half_splits(models: int, images: int, seed: int = 0) -> np.ndarray:
    """Random halves for pairs of shadow models: a half, and the other half.

    So each image is in exactly half of the models. More models go on where fewer end: the first
    rows stay the same.

    Args:
        models: Number of models, even.
        images: Number of images, at least 2.
        seed: Seed of the halves.

    Returns:
        `members [models, images]`, booleans: whether a model is trained with an image.

    Raises:
        ValueError: `models` is odd or below 2, or `images` is below 2.

    Example:
        >>> members = half_splits(4, 10)
        >>> members.sum(axis=0).tolist()
        [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
        >>> bool((half_splits(8, 10)[:4] == members).all())
        True
    """
    checks.at_least(2, models=models, images=images)
    if models % 2:
        raise ValueError(f"models must be even: each image is in half of them; got {models}")
    rngs = [np.random.default_rng((seed, pair)) for pair in range(models // 2)]
    halves = np.stack([rng.permutation(images) < images // 2 for rng in rngs])
    return np.stack([halves, ~halves], axis=1).reshape(models, images)
