"""Processes that never outlive the demo, however it ends."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

# Options of prctl(2).
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# A server drains: requests in flight, then its runner, then its exporter.
STOP_SECONDS = 60


def start(
    arguments: Sequence[str],
    *,
    output: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `python -m …`, which the kernel ends with SIGTERM when this process dies.

    It stays in this process group, so a terminal's Ctrl-C reaches it as well.
    """
    system_library = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def die_with_parent() -> None:
        system_library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        env={**os.environ, **(environment or {})},
        preexec_fn=die_with_parent,  # noqa: PLW1509 - the demo has one thread
    )


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none gets away."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def stop(process: subprocess.Popen[bytes], *, patience_seconds: float) -> None:
    """End a process: wait in case it is ending already, then SIGTERM, at last SIGKILL."""
    if _has_ended(process, patience_seconds):
        return
    process.terminate()
    if not _has_ended(process, STOP_SECONDS):
        process.kill()
        process.wait()


def kill_orphans() -> None:
    """Kill what is left below this process, for instance a killed server's children."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while numbers := children.read_text().split():
        for number in map(int, numbers):
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
