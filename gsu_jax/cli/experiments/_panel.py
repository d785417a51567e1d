"""The panel of `single_image`: images that are asked about, and which of them are trained on."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gsu_jax.storage import write_whole

NOISE = 0.3  # deviation of the noise on noised images, of pixels in [0, 1]
COPIES = (1, 4, 16, 64)
SEALED = "coins.json"


class Sizes(NamedTuple):
    """How many images of each kind a panel has.

    Attributes:
        random: Drawn from the training images.
        memorized: Those that the pilot memorizes most.
        canaries: Turned images for each number of copies.
        noised: Training images with Gaussian noise.
    """

    random: int = 60
    memorized: int = 40
    canaries: int = 5
    noised: int = 60


class Panel(NamedTuple):
    """Images of which a coin decides whether a model is trained on them.

    Attributes:
        images: `[n, height, width, channels]`, floats in [0, 1].
        kinds: `[n]`, such as "random".
        copies: `[n]`, how often an image is in the training data if it is there.
        positions: `[n]` among the training images, -1 for canaries.
        coins: `[n]`, whether the models before unlearning are trained on it.
    """

    images: np.ndarray
    kinds: np.ndarray
    copies: np.ndarray
    positions: np.ndarray
    coins: np.ndarray

    def rows(self, base: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Rows of `pool` that a model with the chosen panel images is trained on."""
        panel = len(base) + np.flatnonzero(chosen)
        return np.concatenate([np.arange(len(base)), np.repeat(panel, self.copies[chosen])])

    def pool(self, base: np.ndarray) -> np.ndarray:
        """The images that are in every training, then the panel."""
        return np.concatenate([base, self.images])


def draw_panel(
    train: np.ndarray, test: np.ndarray, scores: np.ndarray, sizes: Sizes, seed: int
) -> Panel:
    """Draws a panel and its coins.

    Args:
        train: Training images.
        test: Held-out images, which are turned by 90 degrees for canaries.
        scores: `[len(train)]`, how much the pilot memorizes each training image.
        sizes: Of the kinds.
        seed: Of all draws.
    """
    needed = sizes.random + sizes.memorized + sizes.noised
    if len(train) < 4 * needed or len(test) < len(COPIES) * sizes.canaries:
        raise ValueError(
            f"--dataset needs {4 * needed} training and {len(COPIES) * sizes.canaries} test "
            f"images for the panel, got {len(train)} and {len(test)}"
        )
    if train.shape[1] != train.shape[2]:
        raise ValueError(f"--dataset needs square images to turn, got {train.shape[1:3]}")
    rng = np.random.default_rng(seed)
    memorized = np.argsort(-scores, kind="stable")[: sizes.memorized]
    others = rng.permutation(np.setdiff1d(np.arange(len(train)), memorized))
    random, noised = others[: sizes.random], others[sizes.random : sizes.random + sizes.noised]
    turned = test[rng.permutation(len(test))[: len(COPIES) * sizes.canaries]]
    canaries = np.rot90(turned, axes=(1, 2))
    noise = NOISE * rng.normal(size=train[noised].shape)
    images = [train[random], train[memorized], canaries, np.clip(train[noised] + noise, 0, 1)]
    copied = np.repeat(COPIES, sizes.canaries)
    kinds = [
        *["random"] * len(random),
        *["memorized"] * len(memorized),
        *[f"canary, {n}x" for n in copied],
        *["noised"] * len(noised),
    ]
    ones = [np.ones(len(group), int) for group in images]
    positions = [random, memorized, np.full(len(canaries), -1), noised]
    coins = np.random.default_rng((seed, 1)).random(len(kinds)) < 0.5
    return Panel(
        np.float32(np.concatenate(images)),
        np.array(kinds),
        np.concatenate([ones[0], ones[1], copied, ones[3]]),
        np.concatenate(positions),
        coins,
    )


def base_images(train: np.ndarray, panel: Panel) -> np.ndarray:
    """The training images that are in no coin."""
    return np.delete(train, panel.positions[panel.positions >= 0], axis=0)


def seal(folder: Path, panel: Panel) -> str:
    """Writes the coins down, before any model is trained on them, and returns their SHA-256.

    Raises:
        ValueError: The folder has the coins of another panel.
    """
    entries = [
        {"kind": str(kind), "copies": int(n), "position": int(position), "trained_on": bool(coin)}
        for kind, n, position, coin in zip(
            panel.kinds, panel.copies, panel.positions, panel.coins, strict=True
        )
    ]
    content = json.dumps(entries, indent=1) + "\n"
    path = folder / SEALED
    if path.is_file() and path.read_text(encoding="utf-8") != content:
        raise ValueError(f"--out {folder} has the coins of another panel; give another --out")
    write_whole(path, content)
    return hashlib.sha256(content.encode()).hexdigest()
