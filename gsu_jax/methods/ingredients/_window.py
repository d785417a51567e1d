"""The diffusion loss between two noise levels."""

import jax

from gsu_jax.methods.ingredients._losses import MaskedBatch, masked_mean
from gsu_jax.models import GenerativeModel, Loss, Params
from gsu_jax.models.diffusion import diffusion_term, low_discrepancy_times, to_data

Window = tuple[float, float]


def window_loss(model: GenerativeModel, window: Window) -> Loss:
    """The part of the variational bound that lies between two noise levels, in nats.

        E 1/2 (high - low) e^-gamma |x - x^(z, gamma)|^2,   gamma uniform in [low, high]

    Args:
        model: A model with `denoise`.
        window: (low, high) of gamma.

    Returns:
        `loss(params, batch, key)`, the mean over the unmasked images of a `MaskedBatch`.

    Raises:
        ValueError: The model has no `denoise`, or `window` has low above high.

    Example:
        >>> model = GenerativeModel(None, None, None, denoise=lambda params, z, gamma: params * z)
        >>> batch = MaskedBatch(jax.numpy.ones((2, 4, 4, 1)), jax.numpy.ones(2))
        >>> loss = window_loss(model, (-40.0, -38.0))  # almost no noise: x^ = x
        >>> float(loss(0.0, batch, jax.random.key(0))) > 1e10
        True
    """
    low, high = check_window(window)
    model.require("denoise", needed_by="window")

    def loss(params: Params, batch: MaskedBatch, key: jax.Array) -> jax.Array:
        level_key, noise_key = jax.random.split(key)
        x = to_data(batch.images)
        gamma = low + (high - low) * low_discrepancy_times(level_key, len(x))
        noise = jax.random.normal(noise_key, x.shape)

        def denoise(z: jax.Array, gamma: jax.Array) -> jax.Array:
            return model.denoise(params, z, gamma)

        return masked_mean(diffusion_term(denoise, x, gamma, high - low, noise), batch.mask)

    return loss


def check_window(window: Window) -> Window:
    """Returns a window as a tuple; raises ValueError unless it is (low, high) with low < high."""
    if len(window) != 2 or not window[0] < window[1]:
        raise ValueError(f"window must be (low, high) with low < high, got {tuple(window)}")
    low, high = window
    return low, high
