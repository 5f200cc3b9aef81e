"""The dashboards, one file each.

A dashboard is one table of panels, a row of it some ten lines: the files are as long as they are.
"""

from grafana.definitions.batching import BATCHING
from grafana.definitions.drift import DRIFT
from grafana.definitions.fleet import FLEET
from grafana.definitions.gpu import GPU
from grafana.definitions.latency import LATENCY
from grafana.definitions.overview import OVERVIEW
from grafana.definitions.quality import QUALITY
from grafana.model import Dashboard

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, LATENCY, BATCHING, QUALITY, DRIFT, GPU, FLEET)
