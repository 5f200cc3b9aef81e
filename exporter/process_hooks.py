"""What Python does for a recorder beside its own calls: a regular tick, and a word after a fork."""

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol


class Forkable(Protocol):
    """Something that must be told in a forked process."""

    def forget_parent(self) -> None:
        """Let go of what is the parent's."""


def start_ticking(tick: Callable[[], None], seconds: float) -> None:
    """Call `tick` every so many seconds in a daemon thread, until the process ends.

    Where no thread can be started there is no tick.
    """
    ended = threading.Event()
    atexit.register(ended.set)

    def run() -> None:
        while not ended.wait(seconds):
            tick()

    thread = threading.Thread(target=run, name="metric-heartbeat", daemon=True)
    with contextlib.suppress(RuntimeError):
        thread.start()


def tell_after_fork(forkable: Forkable) -> None:
    """Call `forget_parent` in every process forked from this one, while the object lives."""
    _forkables.add(forkable)


def _tell_all() -> None:
    for forkable in tuple(_forkables):
        forkable.forget_parent()


_forkables: "weakref.WeakSet[Forkable]" = weakref.WeakSet()
# When this module is imported, and so before the hooks of most who record.
os.register_at_fork(after_in_child=_tell_all)
