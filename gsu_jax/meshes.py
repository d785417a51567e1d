"""Devices to share batches over, from a few words: "data=8"."""

import re

import jax

AXIS = "data"


def make_mesh(text: str) -> jax.sharding.Mesh:
    """The mesh that `text` describes, of the first so many devices.

    Args:
      text: "data=8": the axis `data`, along which each batch is shared, over eight devices.

    Raises:
      ValueError: `text` is not of that form, or there are fewer devices; says what to give.
    """
    found = re.fullmatch(r"(\w+)=(-?\d{1,9})", text)
    if found is None:
        raise ValueError(f"--mesh {text!r} is not of the form {AXIS}=N, such as {AXIS}=8.")
    axis, size = found[1], int(found[2])
    if axis != AXIS:
        raise ValueError(
            f"--mesh {text}: there is no axis {axis!r}; batches are shared along {AXIS!r}, as in "
            f"{AXIS}=8."
        )
    if size < 1:
        raise ValueError(f"--mesh {text}: the number of devices must be at least 1, found {size}.")
    if size > (there := jax.device_count()):
        raise ValueError(
            f"--mesh {text} asks for {size} devices, found {there} ({jax.default_backend()}); give "
            f"at most {AXIS}={there}, or simulate more on a CPU: "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={size}."
        )
    return jax.make_mesh((size,), (AXIS,))
