"""What the reader of a dashboard can choose."""

from typing import Any

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
JOB = 'job=~"$job"'
LATENCIES = ("0.05", "0.1", "0.25", "0.5", "1.0", "2.5")
WINDOWS = ("1h", "6h", "1d", "7d", "30d")


def _query(name: str, query: str, *, is_single: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
    }
    if is_single:
        return found
    return found | {"multi": True, "includeAll": True, "allValue": ".+"}


def _choice(name: str, values: tuple[str, ...], default: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "type": "custom",
        "query": ",".join(values),
        "current": {"text": default, "value": default, "selected": True},
        "options": [
            {"text": value, "value": value, "selected": value == default} for value in values
        ],
    }


VARIABLES: dict[str, dict[str, Any]] = {
    "datasource": {
        "name": "datasource",
        "label": "Data Source",
        "type": "datasource",
        "query": "prometheus",
    },
    # All of them are ours: a Prometheus scrapes others too, which are up as well.
    "job": _query("job", "label_values(inferometer_build_info, job)")
    | {"allValue": ".*inferometer[^/]*"},
    "instance": _query("instance", f"label_values(inferometer_build_info{{{JOB}}}, instance)"),
    "model": _query("model", f"label_values(inferometer_model_info{{{JOB}}}, model)"),
    "version": _query(
        "version", f'label_values(inferometer_model_info{{{JOB}, model=~"$model"}}, version)'
    ),
    # Boundaries of the latency's buckets, and nothing between them.
    "threshold": _choice("threshold", LATENCIES, "0.25"),
    "window": _choice("window", WINDOWS, "1d"),
    "feature": _query(
        "feature",
        f'label_values(inferometer_reference_bin_share{{{JOB}, model=~"$model"}}, feature)',
        is_single=True,
    ),
    "gpu": _query("gpu", f"label_values(inferometer_gpu_info{{{JOB}}}, gpu_uuid)"),
    "cost": {
        "name": "cost",
        "label": "cost",
        "type": "textbox",
        "query": "1.00",
        "current": {"text": "1.00", "value": "1.00"},
    },
    "filters": {"name": "filters", "label": "filters", "type": "adhoc", "datasource": DATA_SOURCE},
}
