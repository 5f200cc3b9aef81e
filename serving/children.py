"""The supervisor's children.

Started so that they end with it, restarted with back-off when they die.
"""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
# No wait before the first restart, then these; a minute of life resets them.
LONGEST_RESTART_SECONDS = 30.0
STEADY_SECONDS = 60.0

logger = logging.getLogger(__name__)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, where, and the descriptors it inherits beside the standard three."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Sequence[int] = ()
    directory: Path | None = None


class Child:
    """One child process and its restarts."""

    def __init__(self, command: Command) -> None:
        """Start it."""
        self.name = command.name
        self._command = command
        self._failures = 0
        self._started = 0.0
        self.restart_at: float | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.descriptor = -1
        self.start()

    def start(self) -> None:
        """Run the command in a process group of its own.

        A terminal's Ctrl-C is the supervisor's to handle.
        """
        self.restart_at = None
        self._started = time.monotonic()
        process = subprocess.Popen(
            # -P: what lies in the current directory must not take the place of a package.
            [sys.executable, "-P", *self._command.arguments],
            env=dict(self._command.environment),
            pass_fds=self._command.descriptors,
            cwd=self._command.directory,
            stdin=subprocess.DEVNULL,
            process_group=0,
            # The supervisor has one thread, so running Python between fork and exec is safe.
            preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509
        )
        try:
            self.descriptor = os.pidfd_open(process.pid)
        except OSError:
            process.kill()
            process.wait()
            raise
        self.process = process

    def restart(self) -> None:
        """Start it again, or plan to: a host without room for a process has it later, perhaps."""
        try:
            self.start()
        except OSError as error:
            logger.critical("%s cannot be started: %s; that is tried again", self.name, error)
            self.restart_at = time.monotonic() + 1

    def ended(self) -> int:
        """Reap the process after its descriptor has become readable and plan its restart.

        Return its exit code.
        """
        assert self.process is not None
        code = self.process.wait()
        os.close(self.descriptor)
        self.descriptor, self.process = -1, None
        now = time.monotonic()
        self._failures = 1 if now - self._started >= STEADY_SECONDS else self._failures + 1
        delay = (
            0.0
            if self._failures == 1
            else min(2.0 ** (self._failures - 2), LONGEST_RESTART_SECONDS)
        )
        self.restart_at = now + delay
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.process is not None:
            self.process.send_signal(number)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the process to end; return whether it has."""
        if self.process is None:
            return True
        try:
            self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, number: signal.Signals | None, timeout_seconds: float) -> None:
        """Send a signal, if one is given, and wait; what has not ended by then is killed."""
        if self.process is None:
            return
        if number is not None:
            self.process.send_signal(number)
        if not self.wait(timeout_seconds):
            logger.warning("%s did not end within %.0f s and is killed", self.name, timeout_seconds)
            self.process.kill()
            self.process.wait()
        os.close(self.descriptor)
        self.descriptor, self.process = -1, None


def reap_adopted(own: Collection[Child]) -> None:
    """Reap processes that became this one's when their parents died, as they do of process 1."""
    ours = {child.process.pid for child in own if child.process is not None}
    with contextlib.suppress(ChildProcessError):
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        # One of ours is for the others to see: they come after it.
        while (ended := os.waitid(os.P_ALL, 0, options)) and ended.si_pid not in ours:
            os.waitpid(ended.si_pid, 0)


def die_with_parent(parent: int) -> Callable[[], None]:
    """Return what a child runs before its program.

    The kernel will send SIGTERM when the parent dies.
    """

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # The parent died before the request was made.

    return prepare
