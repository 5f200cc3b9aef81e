"""How long the device had a batch on it, whichever models' and however many at once."""

import threading

from exporter import Recorder

NANOSECONDS = 1_000_000_000


class DeviceTime:
    """The device of one runner: its label, and the union of its batches' times."""

    def __init__(self, recorder: Recorder, device: str) -> None:
        """Nothing is on the device, whose series stands at 0."""
        self.device = device
        self.counter = recorder.child("inferometer_device_active_seconds_total", device=device)
        recorder.child("inferometer_device_runners", device=device).set(1)
        self._lock = threading.Lock()
        self._batches = 0
        self._counted_until_ns = 0

    def enter(self, at_ns: int) -> None:
        """Note that a batch goes to the device at a monotonic time."""
        with self._lock:
            if self._batches == 0:
                self._counted_until_ns = max(self._counted_until_ns, at_ns)
            self._batches += 1

    def leave(self, at_ns: int) -> float:
        """Note that a batch has left; return the seconds that no batch has counted yet."""
        with self._lock:
            self._batches -= 1
            # Threads may come here in another order than that of their times.
            uncounted = max(0, at_ns - self._counted_until_ns)
            self._counted_until_ns += uncounted
        return uncounted / NANOSECONDS
