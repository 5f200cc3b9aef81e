"""What a dashboard must be, rule by rule: each yields what breaks it.

Dashboards are held against the catalogue of metrics and the recorded series of the rules.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from exporter import CATALOGUE
from grafana import promql
from grafana.classic import COLLECTION, dashboard_json
from grafana.known import BOUNDARIES, CLOSED, known_labels
from grafana.model import Dashboard, Panel, Target
from grafana.panel_json import ONCE
from grafana.scope import written_out

SHORTEST_DESCRIPTION = 20
# What has a line for each model, version and so on: closed sets, or few by what is chosen.
FEW = frozenset((
    "model", "version", "job", "le", "phase", "code", "reason", "outcome", "role", "cause",
    "trigger", "state", "slo", "age", "result", "k", "device", "sensor", "threshold",
    "clock", "severity", "iou", "error", "collector", "key", "bin", "kind",
))  # fmt: skip
COUNTERS = frozenset(family.name for family in CATALOGUE if family.kind == "counter")
HISTOGRAMS = frozenset(family.name for family in CATALOGUE if family.kind == "histogram")
# Of which some panels show all models of an instance on purpose.
EVERYWHERE = frozenset((
    "inferometer_model_state", "inferometer_rows_total", "inferometer_model_info",
    # Its version is the server's own.
    "inferometer_build_info",
))  # fmt: skip
RATES = frozenset(("rate", "increase", "irate"))
GRAFANAS = frozenset(("__rate_interval", "__range", "__range_s", "datasource"))


class Problem(NamedTuple):
    """A rule that is broken, where, and how."""

    rule: str
    where: str
    text: str


def problems(dashboard: Dashboard) -> list[Problem]:
    """Return everything that is wrong with a dashboard."""
    found = [
        Problem(name, dashboard.slug, text)
        for name, rule in FRAMES.items()
        for text in rule(dashboard)
    ]
    for panel in (COLLECTION, *dashboard.panels):
        for name, rule_of_panel in PANELS.items():
            found += [Problem(name, panel.title, text) for text in rule_of_panel(panel)]
        for target in panel.targets:
            found += [Problem(name, panel.title, text) for name, text in _of_target(panel, target)]
    return found


def _of_target(panel: Panel, target: Target) -> Iterator[tuple[str, str]]:
    try:
        promql.used(written_out(target.expression))
    except ValueError as error:
        yield "parses", str(error)
        return
    for name, rule in TARGETS.items():
        yield from ((name, text) for text in rule(panel, target))


def _frame(dashboard: Dashboard) -> Iterator[str]:
    document = json.loads(dashboard_json(dashboard))
    panels = [
        *document["panels"],
        *(p for row in document["panels"] for p in row.get("panels", ())),
    ]
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) < len(ids):
        yield "two panels have one id"
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        if cells & taken or place["x"] + place["w"] > 24:  # noqa: PLR2004
            yield f"{panel['title']} lies on another panel"
        taken |= cells


def _variables(dashboard: Dashboard) -> Iterator[str]:
    text = " ".join(
        f"{written_out(t.expression)} {t.legend} {p.title} {p.description}"
        for p in (COLLECTION, *dashboard.panels)
        for t in p.targets
    )
    used = promql.variables_of(text) - GRAFANAS
    declared = set(dashboard.variables)
    yield from (f"${name} is not declared" for name in sorted(used - declared))
    # Links between dashboards keep these two, and ad-hoc filters are added by Grafana.
    unused = declared - used - {"filters", "model", "version"}
    yield from (f"${name} is not used" for name in sorted(unused))


def _described(panel: Panel) -> Iterator[str]:
    if len(panel.description) < SHORTEST_DESCRIPTION or not panel.description.endswith("."):
        yield "the description says little"
    if not panel.targets or not panel.unit:
        yield "there is no query, or no unit"


def _absence(panel: Panel) -> Iterator[str]:
    if not panel.absent:
        yield "nothing says why there is nothing"
    if panel.kind == "stat":
        for target in panel.targets:
            if not re.search(r"MARK$|vector\(-?\d+\)$", target.expression):
                yield "a stat that is empty must have a mark"


def _lines(panel: Panel) -> Iterator[str]:
    if panel.kind in {"table", "stat"}:
        return
    for target in panel.targets:
        open_labels = {*re.findall(r"\{\{(\w+)\}\}", target.legend)} - FEW
        written = written_out(target.expression)
        ranked = re.search(r"(top|bottom)k\(", written)
        if open_labels and not ranked:
            yield f"there may be many lines by {', '.join(sorted(open_labels))}"
        if ranked and panel.kind not in ONCE and "@ end()" not in written:
            yield "ranked anew at each moment, which gives ever more lines: rank once, @ end()"


def _exemplars(panel: Panel) -> Iterator[str]:
    has_buckets = any("_bucket" in target.expression for target in panel.targets)
    if panel.has_exemplars and not has_buckets:
        yield "only histograms have exemplars"


def _known(panel: Panel, target: Target) -> Iterator[str]:
    del panel
    used = promql.used(written_out(target.expression))
    everything: set[str] = set(used.made)
    for selector in used.selectors:
        labels = known_labels(selector.metric)
        if labels is None:
            yield f"there is no metric {selector.metric}"
            continue
        everything |= labels
        for name, _, value in selector.matchers:
            if name not in labels:
                yield f"{selector.metric} has no label {name}"
            closed = CLOSED.get((selector.metric, name))
            wrong = (
                set(value.split("|")) - closed if closed and re.fullmatch(r"[\w|]+", value) else ()
            )
            yield from (f"{name} is never {each}" for each in sorted(wrong))
    grouped = {label for _, labels in used.grouped for label in labels}
    legend = set(re.findall(r"\{\{(\w+)\}\}", target.legend))
    yield from (f"no metric here has {name}" for name in sorted((grouped | legend) - everything))


def _scoped(panel: Panel, target: Target) -> Iterator[str]:
    del panel
    for selector in promql.used(written_out(target.expression)).selectors:
        labels = known_labels(selector.metric) or frozenset()
        wanted = {"job", "instance", "model", "version"} & labels
        missing = wanted - {name for name, _, _ in selector.matchers}
        # Of a fleet every version, and of a table of metrics every model, may be wanted.
        missing -= {"version", "model"} if selector.metric in EVERYWHERE else set()
        if missing and selector.metric != "ALERTS":
            yield f"{selector.metric} is not narrowed by {', '.join(sorted(missing))}"


def _rates(panel: Panel, target: Target) -> Iterator[str]:
    for selector in promql.used(written_out(target.expression)).selectors:
        base = re.sub(r"_(bucket|sum|count)$", "", selector.metric)
        is_counter = selector.metric in COUNTERS or (base != selector.metric and base in HISTOGRAMS)
        if selector.function in RATES and not is_counter:
            yield f"{selector.function} of {selector.metric}, which is no counter"
        if is_counter and selector.function not in RATES and panel.kind != "table":
            yield f"{selector.metric} is drawn as it is"


def _buckets(panel: Panel, target: Target) -> Iterator[str]:
    del panel
    for selector in promql.used(written_out(target.expression)).selectors:
        edges = BOUNDARIES.get(selector.metric)
        for name, operator, value in selector.matchers:
            if name == "le" and edges and operator == "Equal" and float(value) not in edges:
                yield f"{value} is no boundary of {selector.metric}"


Frame = Callable[[Dashboard], Iterator[str]]
FRAMES: Mapping[str, Frame] = {"frame": _frame, "variables": _variables}
PANELS: Mapping[str, Callable[[Panel], Iterator[str]]] = {
    "described": _described,
    "absence": _absence,
    "lines": _lines,
    "exemplar": _exemplars,
}
TARGETS: Mapping[str, Callable[[Panel, Target], Iterator[str]]] = {
    "known": _known,
    "scoped": _scoped,
    "rates": _rates,
    "bucket": _buckets,
}
