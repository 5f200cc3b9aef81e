"""Which of a GPU's processes are this server's.

NVML tells pids of the host, of a container, or 0. One is ours if that process's namespace and its
number in it are those of a live block, and if it has the GPU's device file open: seen from inside a
container, a host's pid may be one of ours by chance.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from exporter.gpu.driver import Device, ProcessBusy, ProcessMemory
from exporter.view import View

PROC = Path("/proc")
OWN_ROLES = frozenset({"runner", "frontend"})


def memory_of_ours(processes: Sequence[ProcessMemory], device: Device, view: View) -> int | None:
    """Return the bytes that this server's processes hold; None where that cannot be known."""
    total = 0
    for process in processes:
        found = is_ours(process.pid, device, view)
        if found is None:
            return None
        if found:
            if process.used_bytes is None:
                return None
            total += process.used_bytes
    return total


def busy_of_ours(processes: Iterable[ProcessBusy], device: Device, view: View) -> float | None:
    """Return this server's share of the multiprocessors in percent; None if not known."""
    total = 0.0
    for process in processes:
        found = is_ours(process.pid, device, view)
        if found is None:
            return None
        total += process.percent if found else 0.0
    return total


def is_ours(pid: int, device: Device, view: View) -> bool | None:
    """Return whether a pid is one of this server's; None where it cannot be looked up."""
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
        process.role in OWN_ROLES
        and (process.pid, process.pid_namespace) == (own_number, namespace)
        for process in view.processes
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
