"""The statistics of the Open Inference Protocol, from the counts of every process.

The format is `extension_statistics.md` of https://github.com/triton-inference-server/server.
"""

from collections.abc import Iterable, Mapping, Sequence

from exporter import Total
from serving.model import ModelVersion

NANOSECONDS = 10**9  # in one second
MILLISECONDS = 1e3

DURATION = "inferometer_request_duration_seconds"
PHASE = "inferometer_request_phase_seconds"
ROWS = "inferometer_rows_total"
BATCHES = "inferometer_batches_total"
SIZE = "inferometer_model_size_bytes"
LAST = "inferometer_model_last_batch_timestamp_seconds"
STATISTICS_FAMILIES = (DURATION, PHASE, ROWS, BATCHES, SIZE, LAST)

PHASES = {
    "queue": "queue",
    "compute_input": "assemble",
    "compute_infer": "compute",
    "compute_output": "deliver",
}


def model_statistics(
    versions: Iterable[ModelVersion], totals: Mapping[str, Sequence[Total]]
) -> list[dict[str, object]]:
    """Return the statistics of each version; `totals` are those of `STATISTICS_FAMILIES`."""
    return [_of_version(version, totals) for version in versions]


def _of_version(version: ModelVersion, totals: Mapping[str, Sequence[Total]]) -> dict[str, object]:
    names = {"model": version.model, "version": version.version}

    def found(family: str, **labels: str) -> list[Total]:
        wanted = {**names, **labels}.items()
        return [total for total in totals.get(family, ()) if wanted <= total.labels.items()]

    finished = found(DURATION, outcome="ok")
    failed = [total for total in found(DURATION) if total not in finished]
    size = sum(total.value for total in found(SIZE))
    return {
        "name": version.model,
        "version": version.version,
        # In milliseconds since 1970, 0 before the first.
        "last_inference": int(MILLISECONDS * max((one.value for one in found(LAST)), default=0)),
        "inference_count": int(sum(total.value for total in found(ROWS))),
        "execution_count": int(sum(total.value for total in found(BATCHES))),
        "inference_stats": {
            "success": _duration(finished),
            "fail": _duration(failed),
            **{name: _duration(found(PHASE, phase=phase)) for name, phase in PHASES.items()},
            "cache_hit": _duration([]),
            "cache_miss": _duration([]),
        },
        "batch_stats": [],
        "memory_usage": [{"type": "CPU", "id": 0, "byte_size": int(size)}] if size else [],
    }


def _duration(totals: Iterable[Total]) -> dict[str, int]:
    totals = list(totals)
    return {
        "count": int(sum(total.observations for total in totals)),
        "ns": int(sum(total.value for total in totals) * NANOSECONDS),
    }
