"""Where arrays lie: on one device, or shared over the devices of a mesh."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.runtime._processes import put


@dataclass(frozen=True)
class Placement:
    """Shares batches over the first axis of a mesh, and splits parameters over a second one.

    Without a mesh, everything lies on the default device. With several processes, each process
    passes the same values, and hands on what its devices hold.

    Attributes:
        mesh: Its axes count as `Auto`, whatever they are: the compiler places the reductions.
    """

    mesh: jax.sharding.Mesh | None = None

    @property
    def single_device(self) -> bool:
        """Whether there is no mesh."""
        return self.mesh is None

    @property
    def devices(self) -> int:
        """The number of devices that share a batch."""
        return 1 if self.mesh is None else self.mesh.shape[self.mesh.axis_names[0]]

    def check_batch(self, batch_size: int, used_by: str = "") -> None:
        """Raises ValueError if the devices do not divide a batch size, which `used_by` asks for."""
        if batch_size % self.devices:
            prefix = f"{used_by}: " if used_by else ""
            raise ValueError(
                f"{prefix}batch sizes must be multiples of the {self.devices} devices along mesh "
                f"axis {self.mesh.axis_names[0]!r}, got {batch_size}"
            )

    def fit_batch(self, batch_size: int, images: int) -> int:
        """Returns `batch_size`, lowered to `images` rounded up to a multiple of the devices."""
        return min(batch_size, -(-images // self.devices) * self.devices)

    def replicate(self, tree: Any) -> Any:
        """Places a whole copy on every device."""
        return self._put(tree, lambda shape: jax.P())

    def parameters(self, tree: Any, lead: int = 0) -> Any:
        """Places parameters, or arrays of their shapes, split over the second axis of the mesh.

        Splits the longest axis of an array that the devices divide. Replicates an array without
        such an axis, and every array on a mesh of one axis.

        Args:
            tree: The arrays.
            lead: The number of leading axes, such as one of seeds, that are never split.
        """
        return self._put(tree, partial(self._parameter_spec, lead=lead))

    def constrain(self, tree: Any) -> Any:
        """Constrains the sharding of parameters inside a traced step."""
        if self.mesh is None or len(self.mesh.axis_names) == 1:
            return tree

        def pin(x: jax.Array) -> jax.Array:
            sharding = self._sharding(self._parameter_spec(jnp.shape(x)))
            return jax.lax.with_sharding_constraint(x, sharding)

        return jax.tree.map(pin, tree)

    def images(self, images: np.ndarray) -> jax.Array:
        """Places images, a share of them on each device; the devices must divide their number."""
        return self._put(images, lambda shape: jax.P(self.mesh.axis_names[0]))

    def batches(self, tree: Any, steps: int | None = None) -> Any:
        """Places arrays `[steps, ..., batch]`, each batch split if the devices divide it.

        Args:
            tree: The arrays.
            steps: On a mesh, places this many rows of them only.
        """
        if self.mesh is not None:
            tree = jax.tree.map(lambda x: np.asarray(x)[:steps], tree)
        return self._put(tree, self._batch_spec)

    def gather(
        self, data: Any, indices: Any, steps: int | None = None, *, on_device: Any = None
    ) -> tuple[Any, Any]:
        """Prepares `data[indices[i]]` for step i of a loop, which reads it by `take_rows`.

        Without a mesh, the data are a constant of the loop and each step looks its rows up. On a
        mesh, each process reads the rows that its devices hold on the host, so that no step
        exchanges images.

        Args:
            data: A tree of arrays with a leading axis of examples.
            indices: `[steps, ..., batch]`.
            steps: On a mesh, gathers this many rows of `indices` only.
            on_device: The same data where they lie on the device; by default `data`.

        Returns:
            A constant and an input of the loop, as for `take_rows(constant, input of one step)`.
        """
        if self.mesh is None:
            return data if on_device is None else on_device, indices
        indices = np.asarray(indices)[:steps]
        sharding = self._sharding(self._batch_spec(indices.shape))

        def look_up(x: Any) -> jax.Array:
            x = np.asanyarray(x)
            shape, axes = (*indices.shape, *x.shape[1:]), indices.ndim
            return jax.make_array_from_callback(shape, sharding, lambda i: x[indices[i[:axes]]])

        return None, jax.tree.map(look_up, data)

    def _parameter_spec(self, shape: tuple[int, ...], lead: int = 0) -> jax.P:
        _, *axes = self.mesh.axis_names
        if not axes:
            return jax.P()
        devices = self.mesh.shape[axes[0]]
        sizes = [(n, -i) for i, n in enumerate(shape) if i >= lead and n and n % devices == 0]
        if not sizes:
            return jax.P()
        return jax.P(*[None] * -max(sizes)[1], axes[0])

    def _batch_spec(self, shape: tuple[int, ...]) -> jax.P:
        if len(shape) < 2 or shape[-1] % self.devices:
            return jax.P()
        return jax.P(*[None] * (len(shape) - 1), self.mesh.axis_names[0])

    def _sharding(self, spec: jax.P) -> jax.NamedSharding:
        mesh = jax.sharding.Mesh(self.mesh.devices, self.mesh.axis_names)
        return jax.NamedSharding(mesh, spec)

    def _put(self, tree: Any, spec_of: Callable[[tuple[int, ...]], jax.P]) -> Any:
        if self.mesh is None:
            return jax.tree.map(jnp.asarray, tree)
        return jax.tree.map(lambda x: put(x, self._sharding(spec_of(jnp.shape(x)))), tree)


def take_rows(constant: Any, gathered: Any) -> Any:
    """Returns the examples of one step from what `Placement.gather` returned."""
    if constant is None:
        return gathered
    return jax.tree.map(lambda x: x[gathered], constant)
