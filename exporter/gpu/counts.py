"""What the collector counts itself: in the exporter's block, so that it survives the exporter."""

from collections.abc import Callable, Iterable

from exporter.recorder import Recorder

PREFIX = "inferometer_gpu_"


class Counts:
    """Counts into a recorder as soon as there is one."""

    def __init__(self, recorder: Callable[[], Recorder | None]) -> None:
        """Take what returns the recorder."""
        self._recorder = recorder

    def inc(self, name: str, amount: float = 1.0, /, **labels: str) -> None:
        """Raise a counter; an amount of 0 makes it stand at 0. `name` is without the prefix."""
        recorder = self._recorder()
        if recorder is not None:
            recorder.child(PREFIX + name, **labels).inc(amount)

    def set(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        recorder = self._recorder()
        if recorder is not None:
            recorder.child(PREFIX + name, **labels).set(value)

    def errors(self, errors: Iterable[str]) -> None:
        """Count errors, given as values of the label."""
        for error in errors:
            self.inc("errors_total", error=error)
