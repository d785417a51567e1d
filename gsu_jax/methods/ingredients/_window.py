"""The diffusion loss between two noise levels."""

import jax

from gsu_jax import checks
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
        >>> zero = lambda params, z, gamma: 0.0 * z  # x^ = 0
        >>> model = GenerativeModel(None, None, None, denoise=zero)
        >>> batch = MaskedBatch(jax.numpy.ones((256, 4, 4, 1)), jax.numpy.ones(256))
        >>> loss = window_loss(model, (0.0, 2.0))(None, batch, jax.random.key(0))
        >>> round(float(loss), 1)  # 1/2 |x|^2 (1 - e^-2), of 16 pixels of 255/256
        6.9
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
    try:
        low, high = window
        checks.finite(low=low, high=high)
        ordered = low < high
    except (TypeError, ValueError):
        ordered = False
    if not ordered:
        raise ValueError(
            "window must be (low, high), two finite noise levels with low < high, such as "
            f"(-4.0, 7.0), got {window!r}"
        )
    return low, high
