"""Sources of images: digits, TensorFlow Datasets, `.npz` files, folders."""

from gsu_jax.data.sources._load import clear_cache, load, settled_name
from gsu_jax.data.sources._tfds_folder import locate

__all__ = [
    "clear_cache",
    "load",
    "locate",
    "settled_name",
]
