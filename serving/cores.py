"""How many cores this process may use: what is set by number follows from it.

os.cpu_count() counts the host's. In a container with a limit of two on a host of 64, a server that
believes it starts eight front-ends and 56 threads of TensorFlow, and is throttled in mid-batch.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Return the cores that affinity and the cgroups' quotas leave, part of one counted as one.

    `root` is where /proc and /sys are found. What cannot be read limits nothing.
    """
    allowed = len(os.sched_getaffinity(0))
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quota of each cgroup above this process, in cores.

    Sources: Linux's Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst
    (cpu.cfs_quota_us over cpu.cfs_period_us); man 7 cgroups for /proc/self/cgroup.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, files = root / "sys/fs/cgroup", "cpu.max"
        elif "cpu" in controllers.split(","):
            mount, files = root / "sys/fs/cgroup/cpu", "cpu.cfs_quota_us cpu.cfs_period_us"
        else:
            continue
        folder = mount / path.lstrip("/")
        # Outside a cgroup namespace the path may name what the container does not see.
        for each in (folder, *folder.parents):
            yield from _quota(each, files)
            if each == mount:
                break


def _quota(folder: Path, files: str) -> Iterator[float]:
    try:
        words = " ".join((folder / name).read_text() for name in files.split()).split()
        quota, period = (int(word) for word in words)
    except (OSError, ValueError):  # not there, or "max": no limit
        return
    if quota > 0 and period > 0:
        yield quota / period
