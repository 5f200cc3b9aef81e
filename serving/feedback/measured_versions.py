"""The versions whose labels a front-end counts: their tasks, and their series."""

from collections.abc import Iterable
from typing import NamedTuple

from exporter import Recorder
from exporter.quality import UPPER_EDGES, Measured, VersionSeries, label_series
from serving.model import ModelVersion

# Of all models together, beside those that are served: labels may come long after a version went.
MOST_FORMER_VERSIONS = 8


class MeasuredVersion(NamedTuple):
    """What counting a label of a version takes."""

    measured: Measured
    series: VersionSeries


class MeasuredVersions:
    """Follows the table of models."""

    def __init__(self, recorder: Recorder) -> None:
        """Know no version yet."""
        self._recorder = recorder
        # In the order in which they were last known.
        self._known: dict[tuple[str, str], MeasuredVersion] = {}

    def find(self, model: str, version: str) -> MeasuredVersion | None:
        """Return a version with a task that is, or has lately been, served."""
        return self._known.get((model, version))

    def follow(self, versions: Iterable[ModelVersion]) -> None:
        """Make the series of versions that are new stand at 0, before their first prediction.

        A runner that starts anew knows no tasks for a while; those known stay meanwhile.
        """
        current = []
        for version in versions:
            name, measured = (version.model, version.version), version.measured
            if measured is None:
                continue
            current.append(name)
            known = self._known.pop(name, None)
            if version.task == "none" and known is None:
                continue
            # A task that has ended still takes the labels of its tokens.
            if version.task != "none" and (known is None or known.measured != measured):
                known = MeasuredVersion(measured, self._declared(name, measured))
            assert known is not None
            self._known[name] = known
        former = [name for name in self._known if name not in current]
        for name in former[:-MOST_FORMER_VERSIONS]:
            del self._known[name]

    def _declared(self, name: tuple[str, str], measured: Measured) -> VersionSeries:
        for bin_name, edge in UPPER_EDGES.items():
            self._recorder.child("inferometer_score_bin_upper_edge", bin=bin_name).set(edge)
        declaration = measured.declaration
        if declaration.task == "translation":
            model, version = name
            self._recorder.child(
                "inferometer_bleu_info",
                model=model,
                version=version,
                tokenizer=declaration.tokenizer,
                lowercase=str(declaration.lowercase).lower(),
            ).set(1.0)
        return label_series(self._recorder, *name, measured.task, measured.segments)
