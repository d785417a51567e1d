"""Devices to share work over, from a few words: "data=8", "data=4,model=2"."""

import math
import re

import jax

from gsu_jax.runtime._processes import count

AXES = ("data", "model")


def make_mesh(text: str) -> jax.sharding.Mesh:
    """The mesh that `text` describes, of the first so many devices.

    Args:
      text: "data=8": each batch is shared over eight devices, along the axis `data`.
        "data=4,model=2": over four pairs, each of which splits the parameters along `model`.

    Raises:
      ValueError: `text` is not of that form, or there are fewer devices; says what to give.
    """
    found = [re.fullmatch(r"(\w+)=(-?\d{1,9})", part) for part in text.split(",")]
    names = [match and match[1] for match in found]
    if None in names or len(set(names)) < len(names):
        raise ValueError(
            f"--mesh {text!r} is not of the form data=N or data=N,model=M, such as data=8."
        )
    if strangers := [name for name in names if name not in AXES]:
        raise ValueError(
            f"--mesh {text}: there is no axis {strangers[0]!r}; batches are shared along 'data', "
            "parameters along 'model', as in data=4,model=2."
        )
    sizes = {name: int(match[2]) for name, match in zip(names, found, strict=True)}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(
                f"--mesh {text}: the number of devices along {name!r} must be at least 1, found "
                f"{size}."
            )
    shape = [sizes.get("data", 1)] + [sizes[name] for name in AXES[1:] if name in sizes]
    wanted = math.prod(shape)
    if wanted > (there := jax.device_count()):
        raise ValueError(
            f"--mesh {text} asks for {wanted} devices, found {there} ({jax.default_backend()}); "
            f"give at most {there} in all, such as data={there}, or simulate more on a CPU: "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={wanted}."
        )
    return jax.make_mesh(shape, AXES[: len(shape)])


def check_processes(mesh: jax.sharding.Mesh | None) -> None:
    """Raises ValueError where some of several processes would have no part in the work."""
    if (there := count()) == 1:
        return
    used = set() if mesh is None else {device.process_index for device in mesh.devices.flat}
    if len(used) < there:
        found = f"has devices of {len(used)} of them" if used else "is not given"
        raise ValueError(
            f"{there} processes share each batch over a mesh, which {found}; give --mesh "
            f"data={jax.device_count()}, or start one process."
        )
