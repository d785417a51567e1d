"""The memory maps of this process, which Linux limits, and of which compiled programs take many."""

from pathlib import Path

LIMIT = Path("/proc/sys/vm/max_map_count")
MAPS = Path("/proc/self/maps")


def share_of_memory_maps() -> float:
    """Returns the share of the memory maps that this process may have and has; 0 if unknown.

    XLA maps each kernel of a CPU program on its own: about 700 maps for a step of surgery, 2,000
    for one of `redirect_flow`. Linux allows 65,530. Beyond that a compilation fails with "Cannot
    allocate memory", however much is free, and may end the process.

    Example:
        >>> 0.0 <= share_of_memory_maps() < 1.0
        True
    """
    try:
        with MAPS.open("rb") as maps:
            return sum(1 for _ in maps) / int(LIMIT.read_text())
    except (OSError, ValueError):
        return 0.0  # another system, without such a limit
