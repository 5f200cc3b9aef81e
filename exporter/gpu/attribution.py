"""Which of a GPU's processes are this server's.

NVML tells pids of the host, of a container, or 0. One is ours if that process's namespace and its
number in it are those of a live block, and if it has the GPU's device file open: seen from inside a
container, a host's pid may be one of ours by chance.
"""

from collections.abc import Sequence
from pathlib import Path

from exporter.gpu.driver import Device
from exporter.view import LiveProcess

PROC = Path("/proc")


def is_ours(pid: int, device: Device, own: Sequence[LiveProcess]) -> bool | None:
    """Return whether a pid is one of a server's processes; None where it cannot be looked up."""
    if pid == 0:
        return None
    place = PROC / str(pid)
    try:
        namespace = (place / "ns" / "pid").stat().st_ino
        own_number = _innermost_pid((place / "status").read_text())
    except PermissionError:
        return False  # Another user's; this server's own processes are of one.
    except OSError:
        return None
    is_known = any(
        (process.pid, process.pid_namespace) == (own_number, namespace) for process in own
    )
    return is_known and _has_open(place / "fd", f"/dev/nvidia{device.minor}")


def _innermost_pid(status: str) -> int:
    """Return a process's number in its own namespace, the last one of the line `NSpid`."""
    line = next((line for line in status.splitlines() if line.startswith("NSpid:")), "NSpid:\t0")
    return int(line.split()[-1])


def _has_open(folder: Path, file: str) -> bool:
    try:
        return any(str(entry.readlink()) == file for entry in folder.iterdir())
    except OSError:
        return False
