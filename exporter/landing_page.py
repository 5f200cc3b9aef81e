"""The page a person sees who opens the exporter's address in a browser."""

import html

from exporter.collectors.build import inferometer_version
from exporter.scrape import Scraper

_STATES = {None: "not run yet", True: "works", False: "failed"}


def landing_page(metrics_path: str, scraper: Scraper, remark: str = "") -> str:
    """Return the page: version, a remark if there is one, links, and how the collectors fare."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{_STATES[state]}</td></tr>"
        for name, state in scraper.collector_states().items()
    )
    banner = f"<p><strong>{html.escape(remark)}</strong></p>" if remark else ""
    store = "readable" if scraper.is_ready else "not readable"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        "<title>Inferometer exporter</title><h1>Inferometer exporter</h1>"
        f"<p>Version {html.escape(inferometer_version())}. The store is {store}.</p>"
        f"{banner}"
        f'<p><a href="{html.escape(metrics_path)}">Metrics</a> '
        '<a href="/-/healthy">Healthy</a> <a href="/-/ready">Ready</a></p>'
        f"<table><tr><th>Collector</th><th>Last run</th></tr>{rows}</table></html>"
    )
