"""Grafana dashboards as code: panels as data, written to JSON that Grafana provisions."""
