"""A panel in Grafana's classic JSON, by its kind."""

from collections.abc import Mapping
from typing import Any

from grafana.layout import Place
from grafana.model import Panel, Target
from grafana.scope import written_out
from grafana.variables import DATA_SOURCE

TYPES = {
    "stat": "stat",
    "timeseries": "timeseries",
    "table": "table",
    "bar gauge": "bargauge",
    "bar chart": "barchart",
    "heatmap": "heatmap",
    "state timeline": "state-timeline",
    "status history": "status-history",
}
# What asks once, for the end of the range.
ONCE = frozenset(("stat", "table", "bar gauge", "bar chart"))
MOST_POINTS, MOST_LONG_POINTS = 200, 40
# The marks of scope.py, and what a quotient of nothing by nothing is.
MARKS = {"-1": ("nothing to show", "text"), "-2": ("no target answers", "red")}
NAN = {"type": "special", "options": {"match": "nan", "result": {"text": "no traffic", "index": 9}}}
OPTIONS: Mapping[str, dict[str, Any]] = {
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    },
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
    "bar gauge": {
        "displayMode": "gradient",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "bar chart": {"xTickLabelRotation": 0, "showValue": "never", "stacking": "none"},
    "heatmap": {"calculate": False, "cellGap": 1},
    "state timeline": {"mergeValues": True, "showValue": "never"},
    "status history": {"showValue": "never"},
}


def panel_json(panel: Panel, place: Place, number: int) -> dict[str, Any]:
    """Return a panel's JSON; `number` is its id."""
    found: dict[str, Any] = {
        "id": number,
        "type": TYPES[panel.kind],
        "title": panel.title,
        "description": _description(panel),
        "datasource": DATA_SOURCE,
        "gridPos": place._asdict(),
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
        "targets": [_target(panel, target, place) for place, target in enumerate(panel.targets)],
    }
    if panel.kind not in ONCE:
        found["maxDataPoints"] = _most_points(panel)
    if panel.kind in {"table", "bar chart"}:
        found["transformations"] = _as_table(panel)
    if any("{{gpu_uuid}}" in target.legend for target in panel.targets):
        # A whole UUID leaves no room for the lines.
        # Between slashes, or Grafana would have the whole name match.
        short = {"regex": "/(GPU|MIG)-([0-9a-f]{8})[0-9a-f-]*/", "renamePattern": "$1-$2"}
        found["transformations"] = [{"id": "renameByRegex", "options": short}]
    return found


def _description(panel: Panel) -> str:
    asked = [written_out(target.expression) for target in panel.targets]
    # What the rules record is of whole jobs.
    is_of_jobs = all("$job" in text and "$instance" not in text for text in asked)
    return panel.description + " Of whole jobs, whatever instance is chosen." * is_of_jobs


def _most_points(panel: Panel) -> int:
    """Return how often a graph asks: each time over all that its window holds, of each replica."""
    has_long_window = any("$window" in written_out(target.expression) for target in panel.targets)
    return MOST_LONG_POINTS if has_long_window else MOST_POINTS


def _options(panel: Panel) -> Mapping[str, Any]:
    if panel.sorted_by:
        by = {"displayName": panel.sorted_by, "desc": True}
        return {**OPTIONS[panel.kind], "sortBy": [by]}
    if panel.kind != "heatmap":
        return OPTIONS[panel.kind]
    # The buckets are of the panel's unit, what is in them is so many a second.
    axis = {"axisPlacement": "left", "unit": panel.unit}
    return {**OPTIONS["heatmap"], "yAxis": axis, "cellValues": {"unit": "cps"}}


def _target(panel: Panel, target: Target, number: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "refId": chr(ord("A") + number),
        "datasource": DATA_SOURCE,
        "expr": written_out(target.expression),
        "legendFormat": target.legend or "__auto",
        "instant": panel.kind in ONCE,
        "range": panel.kind not in ONCE,
    }
    if panel.kind in {"table", "bar chart"}:
        found["format"] = "table"
    if panel.kind == "heatmap":
        found["format"] = "heatmap"
    if panel.has_exemplars and "_bucket" in target.expression:
        found["exemplar"] = True
    return found


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": panel.unit, "noValue": panel.absent, "mappings": [NAN]}
    if panel.kind == "stat":
        options = {
            value: {"text": text, "color": color, "index": number}
            for number, (value, (text, color)) in enumerate(MARKS.items())
        }
        found["mappings"] = [{"type": "value", "options": options}, NAN]
        # Grafana's own would turn red at 80.
        found["thresholds"] = {"mode": "absolute", "steps": [{"value": None, "color": "text"}]}
    if panel.thresholds:
        steps = [{"value": value, "color": color} for value, color in panel.thresholds]
        found["thresholds"] = {
            "mode": "absolute",
            "steps": [{"value": None, "color": "green"}, *steps],
        }
    if panel.kind == "bar gauge":
        # Grafana's own would be the least and the most of what is there.
        found |= {"min": 0, "max": 1}
    if panel.kind in {"timeseries", "bar gauge"} or panel.thresholds:
        # Without thresholds of ours, Grafana's own would colour a gauge red at 80.
        is_plain = panel.kind == "timeseries" or not panel.thresholds
        found["color"] = {"mode": "palette-classic" if is_plain else "thresholds"}
    if panel.kind == "timeseries":
        found["custom"] = {
            "fillOpacity": 30 if panel.is_stacked else 0,
            "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
            "showPoints": "never",
            "lineWidth": 1,
            "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
        }
        if panel.is_stacked:
            found["min"] = 0
        if panel.unit == "percentunit":
            # Where all is 0 the axis would end at 10,000 %.
            found["custom"]["axisSoftMax"] = 0.05
    if panel.link:
        found["links"] = [_link(panel)]
    return found


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    """Return the units of a table's columns, or of a query's lines, where they have their own.

    A cell without a value has a dash, and not what is said of a table without rows.
    """

    def matcher(number: int, target: Target) -> dict[str, str]:
        if panel.kind == "table":
            return {"id": "byName", "options": target.legend}
        return {"id": "byFrameRefID", "options": chr(ord("A") + number)}

    units: list[dict[str, Any]] = [
        {
            "matcher": matcher(number, target),
            "properties": [{"id": "unit", "value": target.unit}],
        }
        for number, target in enumerate(panel.targets)
        if target.unit
    ]
    if panel.kind != "table":
        return units
    dash = {"id": "noValue", "value": "–"}
    return [{"matcher": {"id": "byType", "options": "number"}, "properties": [dash]}, *units]


def _link(panel: Panel) -> dict[str, object]:
    """Return a link to another dashboard, with the row's labels and this one's time."""
    chosen = "&".join(f"var-{name}=${{__data.fields.{name}}}" for name in panel.linked)
    kept = "var-datasource=${datasource}&${job:queryparam}&${__url_time_range}"
    return {"title": panel.link, "url": f"/d/inferometer-{panel.link}?{chosen}&{kept}"}


def _as_table(panel: Panel) -> list[dict[str, Any]]:
    """Return what makes one table of several queries, with their names as the columns'.

    Of a query without a name the labels are shown, and not its value.
    """
    letters = [chr(ord("A") + number) for number in range(len(panel.targets))]
    values = ["Value"] if len(letters) == 1 else [f"Value #{letter}" for letter in letters]
    legends = {value: target.legend for value, target in zip(values, panel.targets, strict=True)}
    names = {value: legend for value, legend in legends.items() if legend}
    hidden = dict.fromkeys(["Time", "__name__", *(legends.keys() - names.keys())], True)
    found: list[dict[str, Any]] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hidden, "renameByName": names}},
    ]
    if panel.kind == "bar chart":
        found.append({"id": "sortBy", "options": {"sort": [{"field": "bin"}]}})
    return found
