"""The dashboards, one file each."""

from grafana.definitions.overview import OVERVIEW
from grafana.model import Dashboard

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW,)
