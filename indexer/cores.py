"""How many processor cores this process may use."""

import math
import os
from pathlib import Path
from typing import Final

# Microseconds of processor time in every so many, where a container has a limit: in one file, or
# in two of cgroup's first version.
_QUOTAS: Final = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)


def cores() -> int:
    """By its affinity and its container's quota: threads beyond these wait for each other."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    limits = [limit for files in _QUOTAS if (limit := _quota(files))]
    return max(1, min([count, *map(math.ceil, limits)]))


def _quota(files: tuple[str, ...]) -> float:
    """In cores; 0 where there is none."""
    try:
        said = " ".join(Path(file).read_text(encoding="ascii") for file in files).split()
        quota, period = (int(number) for number in said)
    except (OSError, ValueError):  # not there, or "max"
        return 0.0
    return max(0.0, quota / period) if period > 0 else 0.0
