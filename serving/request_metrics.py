"""What one prediction request leaves on /metrics.

Everything in one call, when its answer is rendered.
"""

from collections.abc import Iterable, Sequence
from itertools import product

from exporter import CATALOGUE, UNKNOWN, Child, Record, Recorder
from serving.model import ModelVersion

# Of all models together: each has dozens of series.
MOST_FORMER_VERSIONS = 8

PHASES = ("parse", "queue", "assemble", "compute", "deliver", "render")

_FAMILIES = {family.name: family for family in CATALOGUE}


class RequestMetrics:
    """The request families of one front-end, with every label set resolved once and kept."""

    def __init__(self, recorder: Recorder, models: Iterable[str]) -> None:
        """Make the configured models' series stand at 0, and those of unknown models."""
        self.recorder = recorder
        self._records: dict[tuple[str, str, str, str, str, str], Record] = {}
        self._in_flight: dict[str, Child] = {}
        # In the order in which they were last known.
        self._versions: dict[tuple[str, str], None] = {}
        for model in (*models, UNKNOWN):
            recorder.declare(model=model)
            self._declare_counters(model, UNKNOWN)

    def follow_versions(self, versions: Iterable[ModelVersion]) -> None:
        """Make the series of versions that are new stand at 0, and end those of long gone ones.

        Versions come and go as long as the server runs; their series must not gather.
        """
        known = [(one.model, one.version) for one in versions if one.version != UNKNOWN]
        for name in known:
            if name not in self._versions:
                self.recorder.declare(model=name[0], version=name[1])
            # Those that are here now are the last.
            self._versions.pop(name, None)
            self._versions[name] = None
        # A runner that has just been started knows no version yet, so some are kept.
        former = [name for name in self._versions if name not in known]
        for name in former[:-MOST_FORMER_VERSIONS]:
            self._forget(name)

    def _forget(self, name: tuple[str, str]) -> None:
        model, version = name
        self.recorder.forget(model=model, version=version)
        self._records = {key: one for key, one in self._records.items() if key[:2] != name}
        del self._versions[name]

    def in_flight(self, model: str) -> Child:
        """Return the gauge of a model's requests under way."""
        child = self._in_flight.get(model)
        if child is None:
            child = self.recorder.child("inferometer_requests_in_flight", model=model)
            self._in_flight[model] = child
        return child

    def record(
        self,
        names: tuple[str, str, str],
        *,
        code: str,
        reason: str,
        outcome: str,
        seconds: Sequence[float],
        sizes: tuple[int, int],
        rows: int,
        trace_id: bytes | None,
    ) -> None:
        """Record one answered request.

        `names` are model, version and protocol; `seconds` the whole duration and the six phases;
        `sizes` the bytes of request and response; `reason` is empty for a success;
        `trace_id` is the request's if it is being traced.
        """
        key = (*names, code, reason, outcome)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = self._resolve(names, code, reason, outcome)
        record((1.0, 1.0 if reason else rows), (*seconds, *sizes), trace_id)

    def _resolve(self, names: tuple[str, str, str], code: str, reason: str, outcome: str) -> Record:
        model, version, protocol = names
        labels = {"model": model, "version": version}
        child = self.recorder.child
        second = (
            child("inferometer_request_failures_total", **labels, reason=reason)
            if reason
            else child("inferometer_rows_total", **labels)
        )
        return self.recorder.bundle(
            (child("inferometer_requests_total", **labels, protocol=protocol, code=code), second),
            (
                child("inferometer_request_duration_seconds", **labels, outcome=outcome),
                *(
                    child("inferometer_request_phase_seconds", **labels, phase=name)
                    for name in PHASES
                ),
                child("inferometer_request_size_bytes", model=model),
                child("inferometer_response_size_bytes", model=model),
            ),
        )

    def _declare_counters(self, model: str, version: str) -> None:
        """Declare the counters alone.

        Histograms of requests without a version would double the series.
        """
        for name in ("inferometer_requests_total", "inferometer_request_failures_total"):
            closed = [label for label in _FAMILIES[name].labels if label.values]
            for values in product(*(label.values for label in closed)):
                labels = dict(zip((label.name for label in closed), values, strict=True))
                self.recorder.child(name, model=model, version=version, **labels)
