"""The dashboards use what the catalogue has, and nothing else."""

import json
import re

import pytest

from exporter import CATALOGUE
from grafana.classic import dashboard_json
from grafana.definitions import DASHBOARDS
from grafana.model import Dashboard

METRIC = re.compile(r"\binferometer_[a-z_]+")
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
KNOWN = {family.name + part for family in CATALOGUE for part in PARTS[family.kind]}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.slug)
def test_every_metric_of_a_dashboard_is_in_the_catalogue(dashboard: Dashboard) -> None:
    used = set(METRIC.findall(dashboard_json(dashboard)))

    assert used
    assert used - KNOWN == set()


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.slug)
def test_panels_have_ids_of_their_own_and_do_not_overlap(dashboard: Dashboard) -> None:
    panels = json.loads(dashboard_json(dashboard))["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}) == len(panels)
