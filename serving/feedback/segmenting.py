"""Of which segments the rows of a prediction are, and how many of each there were."""

from collections.abc import Mapping, Sequence

from exporter.quality import RowSegments, Sums
from serving.codecs.base import DecodedRequest
from serving.feedback.measured_versions import MeasuredVersions
from serving.model import ModelVersion

HEADER = "HTTP_X_SEGMENT"


class Segmenter:
    """Reads the header and the inputs of requests."""

    def __init__(self, versions: MeasuredVersions) -> None:
        """`versions` have the series."""
        self._versions = versions

    def count(
        self, version: ModelVersion, request: DecodedRequest, environ: Mapping[str, object]
    ) -> Sequence[RowSegments]:
        """Count the rows of a prediction by their segments, and return these.

        Empty where the version has none.
        """
        measured = version.measured
        if measured is None or not measured.segments or request.signature != measured.signature:
            return ()
        found = self._versions.find(version.model, version.version)
        if found is None:
            return ()
        segments, sums = found.measured.segments, Sums()
        rows = segments.of_rows(_sent(environ), request.inputs, request.rows)
        segments.count_rows(rows, sums)
        found.series.record(sums)
        return rows


def _sent(environ: Mapping[str, object]) -> RowSegments:
    """Return the pairs of X-Segment, which may be repeated: the server joins them by commas."""
    # WSGI has a header's bytes as Latin-1; what is sent is UTF-8.
    text = str(environ.get(HEADER, "")).encode("latin-1", "replace").decode("utf-8", "replace")
    pairs = (part.partition("=") for part in text.split(","))
    return {key.strip(): value.strip() for key, _, value in pairs}
