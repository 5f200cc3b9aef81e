"""The Open Inference Protocol's routes beside inference.

Server and model metadata, model readiness.
"""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from serving.codecs.metadata import open_inference_metadata, open_inference_server
from serving.errors import Loading
from serving.prediction import RunnerClient

MODEL = "/v2/models/<name:model>"
VERSION = MODEL + "/versions/<int:version>"


def make_blueprint(client: RunnerClient) -> Blueprint:
    """Return the views over the models that `client` knows."""
    blueprint = Blueprint("open_inference", __name__)

    @blueprint.get("/v2")
    def server() -> ResponseReturnValue:
        return open_inference_server()

    @blueprint.get("/v2/models")
    def models() -> ResponseReturnValue:
        return {"models": sorted(client.table.versions)}

    @blueprint.get(MODEL)
    @blueprint.get(VERSION)
    def metadata(model: str, version: int | None = None) -> ResponseReturnValue:
        found = client.table.ready(model, None if version is None else str(version))
        ready = [one.version for one in client.table.model(model) if one.state == "ready"]
        return open_inference_metadata(found, ready)

    @blueprint.get(MODEL + "/ready")
    @blueprint.get(VERSION + "/ready")
    def ready(model: str, version: int | None = None) -> ResponseReturnValue:
        try:
            client.table.ready(model, None if version is None else str(version))
        except Loading:
            return {"name": model, "ready": False}, 503
        # A table outlives its runner: without one nothing is ready.
        if not client.is_connected:
            return {"name": model, "ready": False}, 503
        return {"name": model, "ready": True}

    return blueprint
