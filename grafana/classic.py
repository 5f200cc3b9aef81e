"""Writes a dashboard in Grafana's classic JSON, schema 39: Grafana 10.4 and later provision it."""

import hashlib
import json

from grafana.model import Dashboard, Panel

SCHEMA_VERSION = 39
COLUMNS = 24
PANEL_WIDTH = 12
PANEL_HEIGHT = 8
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard_json(dashboard: Dashboard) -> str:
    """Return the file's text; the same dashboard always gives the same bytes."""
    document = {
        "uid": f"inferometer-{dashboard.slug}",
        "title": dashboard.title,
        "tags": ["inferometer"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [
            _panel(dashboard.slug, number, panel) for number, panel in enumerate(dashboard.panels)
        ],
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _panel(slug: str, number: int, panel: Panel) -> dict[str, object]:
    per_row = COLUMNS // PANEL_WIDTH
    digest = hashlib.sha256(f"{slug}/{panel.title}".encode()).digest()
    return {
        # By slug and title, so that moving a panel keeps its links.
        "id": int.from_bytes(digest[:4], "big") >> 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": DATA_SOURCE,
        "gridPos": {
            "x": number % per_row * PANEL_WIDTH,
            "y": number // per_row * PANEL_HEIGHT,
            "w": PANEL_WIDTH,
            "h": PANEL_HEIGHT,
        },
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "noValue": "no data in this range"},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATA_SOURCE,
                "expr": target.expression,
                "legendFormat": target.legend,
            }
            for index, target in enumerate(panel.targets)
        ],
    }


def _variables() -> list[dict[str, object]]:
    job = 'job=~"$job"'
    return [
        {"name": "datasource", "label": "Data Source", "type": "datasource", "query": "prometheus"},
        _query_variable("job", "label_values(inferometer_build_info, job)"),
        _query_variable("instance", f"label_values(inferometer_build_info{{{job}}}, instance)"),
        _query_variable("model", f"label_values(inferometer_model_state{{{job}}}, model)"),
    ]


def _query_variable(name: str, query: str) -> dict[str, object]:
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": {"query": query, "refId": name},
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "refresh": 2,
    }
