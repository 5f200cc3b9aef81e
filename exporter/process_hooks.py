"""What Python does for a recorder beside its own calls: a regular tick, and a word after a fork."""

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from types import MethodType


def start_ticking(tick: Callable[[], None], seconds: float) -> None:
    """Call `tick` every so many seconds in a daemon thread, until the process ends."""
    ended = threading.Event()
    atexit.register(ended.set)

    def run() -> None:
        while not ended.wait(seconds):
            tick()

    threading.Thread(target=run, name="metric-heartbeat", daemon=True).start()


def after_fork_in_child(method: Callable[[], None]) -> None:
    """Call a bound method in every process forked from this one, while its object lives."""
    assert isinstance(method, MethodType)
    reference = weakref.WeakMethod(method)

    def call() -> None:
        living = reference()
        if living is not None:
            living()

    os.register_at_fork(after_in_child=call)
