"""Which of a GPU's processes are this server's.

NVML tells pids of the host, of a container, or 0. One is ours if that process's namespace and its
number in it are those of a live block, and if it has the GPU's device file open: seen from inside a
container, a host's pid may be one of ours by chance.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from exporter.gpu.driver import Device
from exporter.view import LiveProcess

PROC = Path("/proc")
# The inode of a host's own namespace of pids, in which every pid can be looked up.
HOST_NAMESPACE = 0xEFFFFFFC


def is_ours(pid: int, device: Device, own: Sequence[LiveProcess]) -> bool | None:
    """Return whether a pid is one of a server's processes; None where it cannot be looked up."""
    if pid == 0 or device.minor is None:
        return None
    place = PROC / str(pid)
    try:
        own_number = _innermost_pid((place / "status").read_text())
        namespaces = {one.pid_namespace for one in own if one.pid == own_number}
        if not namespaces:
            return False
        is_known = (place / "ns" / "pid").stat().st_ino in namespaces
    except PermissionError:
        # Another user's; this server's own processes are of one.
        return None if _owner(place) == os.geteuid() else False
    except OSError:
        # Where all can be looked up, it has just ended.
        return False if _namespace() == HOST_NAMESPACE else None
    return _has_open(place / "fd", f"/dev/nvidia{device.minor}") if is_known else False


def _namespace() -> int:
    try:
        return (PROC / "self" / "ns" / "pid").stat().st_ino
    except OSError:
        return 0


def _owner(place: Path) -> int:
    try:
        return place.stat().st_uid
    except OSError:
        return -1


def _innermost_pid(status: str) -> int:
    """Return a process's number in its own namespace, the last one of the line `NSpid`."""
    line = next((line for line in status.splitlines() if line.startswith("NSpid:")), "NSpid:\t0")
    return int(line.split()[-1])


def _has_open(folder: Path, file: str) -> bool | None:
    """Return whether a process has a file open; None where that cannot be seen."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return None
    return any(_target(entry) == file for entry in entries)


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""  # Closed meanwhile.
