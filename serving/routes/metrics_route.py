"""The merged metrics on the serving port, for those who want one port."""

from flask import Blueprint, Response, request

from exporter import Scraper


def make_blueprint(scraper: Scraper) -> Blueprint:
    """Return the view; the alias is where TensorFlow Serving's scrape settings look."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    @blueprint.get("/monitoring/prometheus/metrics")
    def metrics() -> Response:
        exposition = scraper.scrape(
            request.headers.get("Accept", ""), request.headers.get("Accept-Encoding", "")
        )
        return Response(exposition.body, headers=list(exposition.headers))

    return blueprint
