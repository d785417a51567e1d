"""Compiled programs that are kept from one request to the next."""

import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, ClassVar

from gsu_jax.checks import at_least
from gsu_jax.runtime._memory_maps import share_of_memory_maps

MOST_MAPS = 0.5  # leaves room for programs that are not kept here


class ProgramCache:
    """Keeps what was built for a key; drops the least recently used entry when full.

    It drops all entries when the process has half of the memory maps that Linux allows it
    (`share_of_memory_maps`), since the next programs would end the process.

    `unlearn`, `compile_ahead`, `sweep` and `train_epoch` keep their compiled programs in
    `ProgramCache.default`, keyed by model, method, optimizer and shapes, so that a second request
    compiles nothing. A long-running service can bound or empty it:

        ProgramCache.default = ProgramCache(max_size=8)
        ProgramCache.default.clear()

    Keys hold models and methods alive. A key matches only an equal object: a model that is built
    anew, or a `guide` that is a new `lambda`, compiles again.

    Args:
        max_size: The number of entries.

    Attributes:
        default: The cache that the library uses.

    Example:
        >>> cache = ProgramCache(max_size=1)
        >>> cache.get("a", list) is cache.get("a", list)
        True
        >>> cache.clear()
        >>> len(cache)
        0
    """

    default: ClassVar["ProgramCache"]

    def __init__(self, max_size: int = 128) -> None:
        at_least(1, max_size=max_size)
        self._max_size = max_size
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """Returns the entry of `key`, and makes it by `build()` if there is none."""
        with self._lock:
            if key not in self._entries:
                if self._entries and share_of_memory_maps() > MOST_MAPS:
                    self._entries.clear()
                    gc.collect()  # a program is part of a cycle
                self._entries[key] = build()
            self._entries.move_to_end(key)
            while len(self._entries) > self._max_size:
                self._entries.popitem(last=False)
            return self._entries[key]

    def clear(self) -> None:
        """Drops all entries."""
        with self._lock:
            self._entries.clear()


ProgramCache.default = ProgramCache()
