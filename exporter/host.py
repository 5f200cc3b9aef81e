"""Facts about processes and this host, read from /proc: who a pid is, and whether it still runs."""

import os
from functools import cache
from pathlib import Path

START_TIME_FIELD = 22  # proc_pid_stat(5): starttime, in clock ticks since boot


@cache
def boot_id() -> bytes:
    """Return the 16 bytes that name this boot of the kernel."""
    return bytes.fromhex(
        Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    )


def pid_namespace() -> int:
    """Return the inode of this process's PID namespace; a pid means something only inside it."""
    return Path("/proc/self/ns/pid").stat().st_ino


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot.

    None when it is gone or a zombie. Raises OSError when that cannot be found out.
    """
    try:
        # Bytes, because a process may give itself any name.
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may itself contain spaces and parentheses.
    fields = stat.rpartition(b")")[2].split()
    if fields[0] in {b"Z", b"X"}:
        return None
    # The two fields before the state, pid and name, are cut off.
    return int(fields[START_TIME_FIELD - 3])


def resident_memory_bytes(pid: int) -> int:
    """Return a process's resident set in bytes; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_descriptors(pid: int) -> int:
    """Return how many file descriptors a process holds; 0 when it is gone or may not be asked."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0
