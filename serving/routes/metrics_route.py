"""The merged metrics on the serving port, for those who want one port."""

from flask import Blueprint, Response, request

from exporter import Scraper, ScrapeRequest, ScrapeRequestError, StoreUnreadable

TEXT = "text/plain; charset=utf-8"


def make_blueprint(scraper: Scraper) -> Blueprint:
    """Return the view; the alias is where TensorFlow Serving's scrape settings look."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    @blueprint.get("/monitoring/prometheus/metrics")
    def metrics() -> Response:
        query = request.query_string.decode("utf-8", "replace")
        try:
            exposition = scraper.scrape(ScrapeRequest.read(query, dict(request.headers)))
        except ScrapeRequestError as error:
            return Response(f"{error}\n", 400, content_type=TEXT)
        except StoreUnreadable as error:
            return Response(f"{error}\n", 503, content_type=TEXT)
        return Response(exposition.body, headers=list(exposition.headers))

    return blueprint
