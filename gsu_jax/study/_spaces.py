"""What an arena tunes: the settings of every method with their ranges, and the trials drawn."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from gsu_jax import checks
from gsu_jax.methods import METHODS, Method
from gsu_jax.models import GenerativeModel

LOG, LINEAR = "log", "linear"
Space = Mapping[str, tuple[float, float, str] | Sequence[Any]]

# Effort: the images in a step, so the steps of a run; few sizes, since each is another program.
BATCH = [32, 64, 128]
RATE, ASCENT_RATE, WEIGHT = (1e-4, 1e-2, LOG), (1e-5, 3e-3, LOG), (0.1, 30.0, LOG)

# One to three settings of each method and its effort: (low, high, "log" or "linear"), or a list of
# choices. The published or default setting is trial 0 and need not lie in the space.
SPACES: dict[str, Space] = {
    "fine_tune": {"learning_rate": RATE, "batch_size": [128, 256, 512]},
    "gradient_ascent": {
        "learning_rate": ASCENT_RATE,
        "through": ["model", "decoder"],
        "batch_size": BATCH,
    },
    "gradient_surgery": {
        "learning_rate": ASCENT_RATE,
        "retain_weight": WEIGHT,
        "when": ["always", "conflict"],
        "batch_size": BATCH,
    },
    "redirect_surgery": {
        "overshoot": (0.0, 1.0, LINEAR),
        "encoder_weight": (1.0, 30.0, LOG),
        "final_retain_weight": (10.0, 200.0, LOG),
        "least_steps": [50, 100, 200],
    },
    "redirect_flow": {
        "margin": (0.5, 3.0, LOG),
        "described_weight": (0.1, 2.0, LOG),
        "retain_weight": (0.3, 3.0, LOG),
        "effort": ["fast", "full"],
    },
    "retrack": {
        "learning_rate": RATE,
        "forget_share": (0.1, 0.95, LINEAR),
        "batch_size": BATCH,
    },
    "siss": {
        "learning_rate": RATE,
        "mixture": (0.1, 0.9, LINEAR),
        "forget_share": (0.01, 1.0, LOG),
        "batch_size": BATCH,
    },
    "neg_grad_plus": {
        "learning_rate": ASCENT_RATE,
        "retain_share": (0.5, 1.0, LINEAR),
        "batch_size": BATCH,
    },
    "munba": {
        "learning_rate": ASCENT_RATE,
        "through": ["model", "decoder"],
        "batch_size": BATCH,
    },
    "uno": {"learning_rate": RATE, "weight": (1.0, 1e4, LOG), "batch_size": BATCH},
    "uno_s": {"learning_rate": RATE, "weight": (1.0, 1e4, LOG), "batch_size": BATCH},
    "feature_unlearning": {"learning_rate": RATE, "edit_weight": WEIGHT, "batch_size": BATCH},
    "selective_amnesia": {
        "learning_rate": RATE,
        "replay_weight": WEIGHT,
        "fisher_weight": (1.0, 1e4, LOG),
        "batch_size": [64, 128, 256],
    },
    "erasediff": {"learning_rate": RATE, "eta": (0.01, 3.0, LOG), "batch_size": BATCH},
    "salun": {
        "learning_rate": RATE,
        "retain_weight": WEIGHT,
        "share": (0.1, 1.0, LINEAR),
        "batch_size": BATCH,
    },
    "dimum": {"learning_rate": RATE, "retain_weight": WEIGHT, "batch_size": BATCH},
    "synaptic_dampening": {
        "threshold": (1.0, 100.0, LOG),
        "dampening": (0.1, 10.0, LOG),
        "fisher_images": [512, 2048],
    },
    "influence": {
        "damping": (1e-3, 10.0, LOG),
        "iterations": [10, 30, 100],
        "images": [256, 1024],
    },
    "scrub": {
        "learning_rate": ASCENT_RATE,
        "retain_weight": WEIGHT,
        "forget_share": (0.1, 0.9, LINEAR),
        "batch_size": BATCH,
    },
    "vdu": {
        "learning_rate": (1e-5, 1e-3, LOG),
        "prior_weight": (1e-4, 0.1, LOG),
        "batch_size": BATCH,
    },
}

# The methods that can work on a diffusion model. It has no decoder to unlearn through, and noise
# levels: `through` and `forget_share` of `retrack` do nothing there, `window` does.
DIFFUSION_SPACES: dict[str, Space] = {
    name: space
    for name, space in SPACES.items()
    if "denoise" in METHODS[name].instead or not METHODS[name].needs
} | {
    "gradient_ascent": {"learning_rate": ASCENT_RATE, "batch_size": BATCH},
    "gradient_surgery": {
        "learning_rate": ASCENT_RATE,
        "retain_weight": WEIGHT,
        "window": [None, (-1.0, 3.0), (-2.0, 4.0), (-4.0, 7.0)],
        "batch_size": BATCH,
    },
    "redirect_diffusion": {
        "learning_rate": (1e-3, 6e-3, LOG),
        "margin": (0.0, 3.0, LINEAR),
        "least_steps": [100, 200, 400],
    },
    "retrack": {
        "learning_rate": RATE,
        "denoising_share": (1e-3, 0.5, LOG),
        "batch_size": BATCH,
    },
    "munba": {"learning_rate": ASCENT_RATE, "batch_size": BATCH},
}


def spaces_for(model: GenerativeModel) -> Mapping[str, Space]:
    """Returns the spaces of an arena of this model: those of VAEs, or of diffusion models.

    Example:
        >>> from gsu_jax.models import MLPDiffusionConfig
        >>> from gsu_jax.networks import mlp_diffusion
        >>> model = mlp_diffusion(MLPDiffusionConfig(image_shape=(8, 8, 1)))
        >>> sorted(spaces_for(model)["retrack"])
        ['batch_size', 'denoising_share', 'learning_rate']
    """
    return SPACES if model.denoise is None else DIFFUSION_SPACES


def draw_trials(method: Method, space: Space, count: int) -> list[Method]:
    """Returns the settings that an arena tries for a method.

    Trial 0 is `method` itself. The others are points of a Kronecker sequence, which fills the space
    evenly whatever their number; the name of the method gives its shift, so that the same trials
    are drawn every time, and more of them extend the earlier ones.

    Args:
        method: With its default settings.
        space: Setting -> (low, high, "log" or "linear"), or a list of choices.
        count: The number of trials.

    Returns:
        `count` methods, labeled TITLE-trial-00 and so on.

    Raises:
        ValueError: The space names no setting of the method, a range is empty, or a value is
            none that the method takes.

    Example:
        >>> from gsu_jax import GradientAscent
        >>> space = {"learning_rate": (1e-4, 1e-2, "log"), "batch_size": [32, 128]}
        >>> for trial in draw_trials(GradientAscent(), space, 2):
        ...     print(trial.label, trial.learning_rate, trial.batch_size)
        gradient_ascent-trial-00 0.0005 128
        gradient_ascent-trial-01 0.000554 128
    """
    checks.at_least(1, trials=count)
    known = {field.name for field in fields(method)} - {"label"}
    for name, values in space.items():
        if name not in known:
            raise checks.unknown(f"spaces[{method.title!r}]", "setting", name, known)
        _check(f"spaces[{method.title!r}][{name!r}]", values)
    points = _kronecker(method.name, len(space), count)
    tried = []
    for number, point in enumerate(points):
        drawn = {
            name: _value(values, u, getattr(method, name))
            for (name, values), u in zip(space.items(), point, strict=True)
        }
        label = f"{method.title}-trial-{number:02d}"
        tried.append(replace(method, **drawn if number else {}, label=label))
    return tried


def _kronecker(name: str, dimensions: int, count: int) -> np.ndarray:
    """`[count, d]` points of Roberts' R sequence: i a mod 1 with a_j = g^-j, g^(d+1) = g + 1."""
    g = 1.0
    for _ in range(64):
        g = (1.0 + g) ** (1.0 / (dimensions + 1))
    steps = g ** -np.arange(1.0, dimensions + 1)
    shift = np.random.default_rng(zlib.crc32(name.encode())).random(dimensions)
    return (shift + np.arange(count)[:, None] * steps) % 1.0


def _value(values: Any, u: float, default: Any) -> Any:
    """The value at `u` in [0, 1), to three digits; an integer if the default is one."""
    if not isinstance(values, tuple):
        return values[int(u * len(values))]
    low, high, kind = values
    value = low * (high / low) ** u if kind == LOG else low + (high - low) * u
    if isinstance(default, int) and not isinstance(default, bool):
        return round(value)
    return float(f"{value:.3g}")


def _check(place: str, values: Any) -> None:
    """Raises ValueError unless `values` is a range or a list of choices."""
    if isinstance(values, list) and values:
        return
    try:
        low, high, kind = values
        good = kind in (LOG, LINEAR) and low < high and (low > 0 or kind == LINEAR)
    except (TypeError, ValueError):
        good = False
    if not good or not isinstance(values, tuple):
        raise ValueError(
            f'{place} must be (low, high, "log") with 0 < low < high, (low, high, "linear") with '
            f"low < high, or a list of choices, got {values!r}"
        )
