"""Where sums go: the series of one model's version, in this process's recorder."""

from collections.abc import Iterable

import numpy as np

from exporter.catalogue.drift import INPUT_FAMILIES, REFUSALS
from exporter.catalogue.quality import LABEL_FAMILIES, OUTPUT_FAMILIES
from exporter.child import Child
from exporter.metric import Family
from exporter.quality.arrivals import declare_labels
from exporter.quality.reference import Reference
from exporter.quality.segments import Segments
from exporter.quality.sums import Labels, Sums
from exporter.quality.task import Task
from exporter.recorder import Recorder

PREFIX = "inferometer_"
FEW = 16


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
                _observe(self._child(name, ()), values)

    def _child(self, name: str, labels: Labels) -> Child:
        child = self._children.get((name, labels))
        if child is None or child.is_ended:
            child = self._recorder.child(PREFIX + name, **self._labels, **dict(labels))
            self._children[name, labels] = child
        return child


def _observe(child: Child, values: list[float]) -> None:
    """Observe values: a few one by one, many by their buckets."""
    if len(values) < FEW:
        for value in values:
            child.observe(value)
        return
    found = np.searchsorted(np.array(child.family.edges), values, side="left")
    counts = np.bincount(found)
    child.add(0, float(np.sum(values)))
    for place in counts.nonzero()[0].tolist():
        child.add(1 + place, float(counts[place]))


def output_series(
    recorder: Recorder, model: str, version: str, task: Task, reference: Reference | None = None
) -> VersionSeries:
    """Return the series of what a version takes in and puts out; they stand at 0."""
    series = VersionSeries(recorder, model, version, (*OUTPUT_FAMILIES, *INPUT_FAMILIES))
    sums = declared(task)
    if reference is not None:
        reference.declare(sums)
    series.declare(sums)
    return series


def show_reference(
    recorder: Recorder, model: str, version: str, reference: Reference, checksum: str
) -> list[Child]:
    """Show what a profile says; return the gauges, which are to be removed with the version."""
    names = {"model": model, "version": version}
    profile = reference.profile
    shown: list[tuple[str, dict[str, str], float]] = [
        ("reference_info", {"sha256": checksum, "created": profile.created}, 1.0),
        ("reference_rows", {}, float(profile.rows)),
        *(("baseline", {"metric": name}, value) for name, value in reference.baseline.items()),
        *(
            ("reference_bin_share", {"feature": feature.name, "bin": name}, share)
            for feature in reference.features
            for name, share in zip(feature.bins, feature.shares, strict=True)
        ),
    ]
    children = []
    for name, labels, value in shown:
        child = recorder.child(PREFIX + name, **names, **labels)
        child.set(value)
        children.append(child)
    return children


def show_refusal(recorder: Recorder, model: str, version: str, reason: str) -> list[Child]:
    """Show why a profile is not used; return the gauges, as above."""
    names = {"model": model, "version": version}
    children = []
    for each in REFUSALS:
        child = recorder.child("inferometer_reference_refused", **names, reason=each)
        child.set(float(each == reason))
        children.append(child)
    return children


def label_series(
    recorder: Recorder, model: str, version: str, task: Task, segments: Segments | None = None
) -> VersionSeries:
    """Return the series of what labels show of a version; they stand at 0."""
    series = VersionSeries(recorder, model, version, LABEL_FAMILIES)
    sums = declared(task)
    declare_labels(sums)
    if segments is not None:
        segments.declare(sums)
    series.declare(sums)
    return series


def declared(task: Task) -> Sums:
    """Return every series that a task has, at 0."""
    sums = Sums()
    task.declare(sums)
    return sums
