"""The Open Inference Protocol's routes beside inference.

Server and model metadata, model readiness.
"""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from exporter import Scraper
from serving.codecs.metadata import (
    model_configuration,
    open_inference_metadata,
    open_inference_server,
)
from serving.errors import Loading
from serving.prediction import RunnerClient
from serving.settings import Settings
from serving.statistics import STATISTICS_FAMILIES, model_statistics

MODEL = "/v2/models/<name:model>"
VERSION = MODEL + "/versions/<version:version>"


def make_blueprint(client: RunnerClient, settings: Settings, scraper: Scraper) -> Blueprint:
    """Return the views over the models that `client` knows; `scraper` reads what was counted."""
    blueprint = Blueprint("open_inference", __name__)

    @blueprint.get("/v2")
    def server() -> ResponseReturnValue:
        return open_inference_server()

    @blueprint.get("/v2/models")
    def models() -> ResponseReturnValue:
        return {"models": sorted(client.table.versions)}

    @blueprint.get(MODEL)
    @blueprint.get(VERSION)
    def metadata(model: str, version: str | None = None) -> ResponseReturnValue:
        found = client.table.ready(model, version)
        ready = [one.version for one in client.table.model(model) if one.state == "ready"]
        return open_inference_metadata(found, ready)

    @blueprint.get(MODEL + "/config")
    @blueprint.get(VERSION + "/config")
    def config(model: str, version: str | None = None) -> ResponseReturnValue:
        return model_configuration(client.table.ready(model, version), settings)

    @blueprint.get("/v2/models/stats")
    @blueprint.get(MODEL + "/stats")
    @blueprint.get(VERSION + "/stats")
    def statistics(model: str | None = None, version: str | None = None) -> ResponseReturnValue:
        table = client.table
        if model is not None and version is not None:
            table.ready(model, version)
        versions = [
            found
            for name in (sorted(table.versions) if model is None else [model])
            for found in table.model(name)
            if found.state == "ready" and version in {None, found.version}
        ]
        return {"model_stats": model_statistics(versions, scraper.totals(STATISTICS_FAMILIES))}

    @blueprint.get(MODEL + "/ready")
    @blueprint.get(VERSION + "/ready")
    def ready(model: str, version: str | None = None) -> ResponseReturnValue:
        try:
            client.table.ready(model, version)
        except Loading:
            return {"name": model, "ready": False}, 503, {"Retry-After": "1"}
        # A table outlives its runner: without one nothing is ready.
        if not client.is_connected:
            return {"name": model, "ready": False}, 503, {"Retry-After": "1"}
        return {"name": model, "ready": True}

    return blueprint
