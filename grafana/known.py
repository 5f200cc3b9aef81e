"""What metrics and recorded series there are, and which labels each has."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from exporter import CATALOGUE

TARGET = frozenset(("job", "instance"))
# Prometheus's own of each target, and of alerts.
OTHERS: Mapping[str, frozenset[str]] = {
    "up": TARGET,
    "scrape_duration_seconds": TARGET,
    "scrape_samples_post_metric_relabeling": TARGET,
    "prometheus_rule_evaluation_failures_total": TARGET | {"rule_group"},
    "prometheus_rule_group_last_duration_seconds": TARGET | {"rule_group"},
    "prometheus_rule_group_interval_seconds": TARGET | {"rule_group"},
    "ALERTS": TARGET
    | {"alertname", "alertstate", "severity", "model", "version", "role", "feature", "gpu_uuid"},
}
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


def _catalogue() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for family in CATALOGUE:
        labels = TARGET | {label.name for label in family.labels}
        for part in PARTS.get(family.kind, ("_sum", "_count")):
            found[family.name + part] = labels | ({"le"} if part == "_bucket" else frozenset())
    return found


@cache
def _rules() -> list[dict[str, Any]]:
    files = sorted((Path(__file__).parent / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


@cache
def _recorded() -> dict[str, frozenset[str]]:
    """Return the recorded series: their labels are in their names, and those the rules add."""
    found: dict[str, frozenset[str]] = {}
    for rule in _rules():
        name = rule.get("record")
        if name is not None:
            labels = frozenset(rule.get("labels", ())) | _labels_of(name)
            found[name] = found.get(name, frozenset()) | labels
    return found


def rule_expressions() -> list[str]:
    """Return the queries of all rules."""
    return [rule["expr"] for rule in _rules()]


def _labels_of(name: str) -> frozenset[str]:
    level = name.split(":", maxsplit=1)[0]
    names = {"gpu_uuid" if each == "gpu" else each for each in level.split("_")}
    # What burns the budget of an objective comes with the objective's label.
    return frozenset(names | ({"slo"} if "_slo_" in name else set()))


SERIES = _catalogue()
# The values of labels with a closed set.
CLOSED = {
    (family.name + part, label.name): frozenset(label.values) | {""}
    for family in CATALOGUE
    for part in PARTS.get(family.kind, ("",))
    for label in family.labels
    if label.values
}
BOUNDARIES = {
    family.name + "_bucket": frozenset(family.edges)
    for family in CATALOGUE
    if family.kind == "histogram"
}


def known_labels(metric: str) -> frozenset[str] | None:
    """Return the labels of a metric or recorded series; None where there is no such."""
    for known in (SERIES, _recorded(), OTHERS):
        if metric in known:
            return known[metric]
    return None
