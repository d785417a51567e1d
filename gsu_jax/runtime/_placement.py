"""Which images each step of an epoch sees."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.runtime._processes import put


def fit_batch(batch_size: int, images: int, mesh: jax.sharding.Mesh | None) -> int:
    """`batch_size`, or less where there are fewer images: on a mesh a multiple of its devices."""
    devices = Placement(mesh).devices
    return min(batch_size, -(-images // devices) * devices)


def check_batch(batch_size: int, mesh: jax.sharding.Mesh | None, where: str = "") -> None:
    """Raises ValueError where such a batch, met in `where`, does not divide over the devices."""
    if batch_size % (devices := Placement(mesh).devices):
        prefix = f"{where}: " if where else ""
        raise ValueError(
            f"{prefix}a batch of {batch_size} images does not divide over mesh axis "
            f"{mesh.axis_names[0]!r} of {devices} devices; choose batch sizes that are multiples "
            "of it, or another number of devices."
        )


@dataclass(frozen=True)
class Placement:
    """The first axis of a mesh shares batches and images, a second one parameters.

    Without a mesh everything lies on the default device. Over several processes each must give the
    same values, of which it hands on those that its devices hold.

    Attributes:
      mesh: its axes are taken as `Auto`, whatever they are: the compiler places the reductions.
    """

    mesh: jax.sharding.Mesh | None = None

    @property
    def devices(self) -> int:
        """How many devices share a batch."""
        return 1 if self.mesh is None else self.mesh.shape[self.mesh.axis_names[0]]

    def everywhere(self, tree: Any) -> Any:
        """Whole on every device."""
        return self._put(tree, lambda shape: jax.P())

    def parameters(self, tree: Any, lead: int = 0) -> Any:
        """Parameters, or what has their shapes: each array split over the second axis of the mesh.

        The longest of an array's axes is split that the devices divide, `lead` axes apart; an array
        without one is whole on every device, as all are on a mesh of one axis.
        """
        return self._put(tree, partial(self._of_parameter, lead=lead))

    def hold(self, tree: Any) -> Any:
        """Inside a traced step: what `parameters` has placed stays as it was."""
        if self.mesh is None or len(self.mesh.axis_names) == 1:
            return tree

        def pin(x: jax.Array) -> jax.Array:
            spec = self._of_parameter(jnp.shape(x))
            return jax.lax.with_sharding_constraint(x, self._sharding(spec))

        return jax.tree.map(pin, tree)

    def rows(self, images: np.ndarray) -> jax.Array:
        """Images, a part of them on each device; their number divides (`gsu_jax.data`)."""
        return self._put(images, lambda shape: jax.P(self.mesh.axis_names[0]))

    def batches(self, tree: Any) -> Any:
        """Arrays `[..., batch]`, each batch split; one that does not divide is whole everywhere."""
        return self._put(tree, self._of_batch)

    def look_up(self, data: Any, indices: np.ndarray) -> Any:
        """`data[indices]` of every array in a tree, each batch split as by `batches`.

        Args:
          data: arrays on the host; each process reads those rows that its devices hold.
          indices: `[..., batch]`, on the host.
        """
        sharding = self._sharding(self._of_batch(indices.shape))

        def look(x: np.ndarray) -> jax.Array:
            shape = (*indices.shape, *x.shape[1:])
            axes = indices.ndim
            return jax.make_array_from_callback(shape, sharding, lambda i: x[indices[i[:axes]]])

        return jax.tree.map(look, data)

    def _of_parameter(self, shape: tuple[int, ...], lead: int = 0) -> jax.P:
        _, *axes = self.mesh.axis_names
        if not axes:
            return jax.P()
        devices = self.mesh.shape[axes[0]]
        sizes = [(n, -i) for i, n in enumerate(shape) if i >= lead and n and n % devices == 0]
        if not sizes:
            return jax.P()
        return jax.P(*[None] * -max(sizes)[1], axes[0])

    def _of_batch(self, shape: tuple[int, ...]) -> jax.P:
        split = len(shape) > 1 and shape[-1] % self.devices == 0
        return jax.P(*[None] * (len(shape) - 1), self.mesh.axis_names[0]) if split else jax.P()

    def _sharding(self, spec: jax.P) -> jax.NamedSharding:
        mesh = jax.sharding.Mesh(self.mesh.devices, self.mesh.axis_names)
        return jax.NamedSharding(mesh, spec)

    def _put(self, tree: Any, spec_of: Any) -> Any:
        if self.mesh is None:
            return jax.tree.map(jnp.asarray, tree)
        return jax.tree.map(lambda x: put(x, self._sharding(spec_of(jnp.shape(x)))), tree)
