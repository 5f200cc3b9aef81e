"""Where sums go: the series of one model's version, in this process's recorder."""

from collections.abc import Iterable

from exporter.catalogue.quality import LABEL_FAMILIES, OUTPUT_FAMILIES
from exporter.child import Child
from exporter.metric import Family
from exporter.quality.arrivals import declare_labels
from exporter.quality.sums import Labels, Sums
from exporter.quality.task import Task
from exporter.recorder import Recorder

PREFIX = "inferometer_"


class VersionSeries:
    """Records sums of one kind of families: of outputs, or of labels.

    The two are recorded by different processes, so each declares its own.
    """

    def __init__(
        self, recorder: Recorder, model: str, version: str, families: Iterable[Family]
    ) -> None:
        """Declare nothing yet."""
        self._recorder = recorder
        self._labels = {"model": model, "version": version}
        self._families = {family.name.removeprefix(PREFIX): family for family in families}
        self._children: dict[tuple[str, Labels], Child] = {}

    def declare(self, sums: Sums) -> None:
        """Make every series that stands in `sums` stand at 0."""
        for name, labels, _ in sums.items():
            if name in self._families:
                self._child(name, labels)
        for name, _ in sums.observations():
            if name in self._families:
                self._child(name, ())

    def record(self, sums: Sums) -> None:
        """Add to what the recorder has."""
        for name, labels, amount in sums.items():
            if amount and name in self._families:
                self._child(name, labels).inc(amount)
        for name, values in sums.observations():
            if name in self._families:
                observe = self._child(name, ()).observe
                for value in values:
                    observe(value)

    def _child(self, name: str, labels: Labels) -> Child:
        child = self._children.get((name, labels))
        if child is None or child.is_ended:
            child = self._recorder.child(PREFIX + name, **self._labels, **dict(labels))
            self._children[name, labels] = child
        return child


def output_series(recorder: Recorder, model: str, version: str, task: Task) -> VersionSeries:
    """Return the series of what a version puts out; they stand at 0."""
    series = VersionSeries(recorder, model, version, OUTPUT_FAMILIES)
    series.declare(declared(task))
    return series


def label_series(recorder: Recorder, model: str, version: str, task: Task) -> VersionSeries:
    """Return the series of what labels show of a version; they stand at 0."""
    series = VersionSeries(recorder, model, version, LABEL_FAMILIES)
    sums = declared(task)
    declare_labels(sums)
    series.declare(sums)
    return series


def declared(task: Task) -> Sums:
    """Return every series that a task has, at 0."""
    sums = Sums()
    task.declare(sums)
    return sums
