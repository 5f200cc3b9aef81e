"""Writes a dashboard in Grafana's classic JSON, schema 39: Grafana 10.4 and later provision it."""

import hashlib
import json
from typing import Any

from grafana.layout import COLUMNS, placed
from grafana.model import Dashboard, Panel, Row, Target
from grafana.panel_json import panel_json
from grafana.scope import written_out
from grafana.variables import DATA_SOURCE, VARIABLES

SCHEMA_VERSION = 39
# Whether what is not there cannot be there, or could not be collected.
COLLECTION = Panel(
    "Collection",
    "stat",
    "none",
    "1: every collector of every target works. 0: one fails, and its panels are empty; the fleet"
    " dashboard says which. -2: no target answers.",
    (Target("min(inferometer_collector_success{SI}) or on () vector(-2)", "collectors", "vvvv!0"),),
    thresholds=((0.0, "red"), (1.0, "green")),
)
ANNOTATIONS = (
    (
        "Version loaded",
        "1000 * min by (job, model, version) (inferometer_model_loaded_timestamp_seconds{S})",
        "{{model}} {{version}}",
        "blue",
    ),
    (
        "Process started",
        "sum by (instance, role) (increase(inferometer_process_starts_total{SI}[RI])) > 0",
        "{{role}} of {{instance}}",
        "orange",
    ),
    (
        "Alert",
        'ALERTS{alertname=~"Inferometer.*", alertstate="firing", severity=~"critical|warning"}',
        "{{alertname}} {{model}}{{instance}}",
        "red",
    ),
)


def dashboard_json(dashboard: Dashboard) -> str:
    """Return the file's text; the same dashboard always gives the same bytes."""
    document = {
        "uid": f"inferometer-{dashboard.slug}",
        "title": dashboard.title,
        "description": dashboard.question,
        "tags": ["inferometer"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "tags": ["inferometer"],
                "title": "Inferometer",
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            },
        ],
        "annotations": {"list": [_annotation(*each) for each in ANNOTATIONS]},
        "templating": {"list": [VARIABLES[name] for name in ("datasource", *dashboard.variables)]},
        "panels": _panels(dashboard),
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    top = 0
    for number, row in enumerate(dashboard.rows):
        panels = (COLLECTION, *row.panels) if number == 0 else row.panels
        heading = _heading(dashboard.slug, row, top)
        inner = [
            panel_json(panel, place, identity(dashboard.slug, f"{row.title}/{panel.title}"))
            for panel, place in placed(panels, top + 1)
        ]
        found.append(heading)
        if row.is_closed:
            heading["panels"] = inner
            top += 1
        else:
            found += inner
            top = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in inner)
    return found


def _heading(slug: str, row: Row, top: int) -> dict[str, Any]:
    return {
        "id": identity(slug, row.title),
        "type": "row",
        "title": row.title,
        "collapsed": row.is_closed,
        "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        "panels": [],
    }


def identity(slug: str, title: str) -> int:
    """Return a panel's id: by slug and title, so that moving a panel keeps its links."""
    digest = hashlib.sha256(f"{slug}/{title}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _annotation(name: str, expression: str, text: str, color: str) -> dict[str, object]:
    return {
        "name": name,
        "datasource": DATA_SOURCE,
        "enable": True,
        "iconColor": color,
        "expr": written_out(expression),
        "titleFormat": name,
        "textFormat": text,
        # The value is the time, to the millisecond.
        "useValueForTime": expression.startswith("1000 *"),
    }
