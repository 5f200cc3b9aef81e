"""The model repository extension of the Open Inference Protocol: index, load, unload.

Load and unload change what is served, so a token opens them.
"""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from serving.body import TimeLimit
from serving.codecs.metadata import repository_index
from serving.errors import ControlError, InvalidInput, NotOffered, UnknownModel
from serving.prediction import RunnerClient
from serving.routes.bearer import require_bearer
from serving.routes.json_body import json_object
from serving.settings import Settings

MODEL = "/v2/repository/models/<name:model>"


def make_blueprint(client: RunnerClient, settings: Settings, time_limit: TimeLimit) -> Blueprint:
    """Return the views over the models that `client` knows; `time_limit` bounds reading bodies."""
    blueprint = Blueprint("repository", __name__)

    @blueprint.post("/v2/repository/index")
    def index() -> ResponseReturnValue:
        only_ready = json_object(time_limit).get("ready", False)
        if not isinstance(only_ready, bool):
            raise InvalidInput("ready must be true or false")
        versions = client.table.versions.values()
        rows = [row for found in versions for row in repository_index(found)]
        return [row for row in rows if not only_ready or row["state"] == "READY"]

    @blueprint.post(MODEL + "/load")
    def load(model: str) -> ResponseReturnValue:
        _authorize(settings)
        _refuse_parameters(json_object(time_limit))
        _control(client, settings, "load", model)
        return {}

    @blueprint.post(MODEL + "/unload")
    def unload(model: str) -> ResponseReturnValue:
        _authorize(settings)
        _control(client, settings, "unload", model)
        return {}

    return blueprint


def _authorize(settings: Settings) -> None:
    if settings.control_token is None:
        raise ControlError("control_token is not set, so models cannot be changed here", "closed")
    require_bearer(settings.control_token, "control token")


def _refuse_parameters(document: dict[str, object]) -> None:
    """Refuse what would load something else than what lies in the model's folder."""
    parameters = document.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidInput("parameters must be an object")
    for name in parameters:
        if name == "config" or name.startswith("file:"):
            raise NotOffered(f'parameter "{name[:64]}" is not offered here: the folder decides')


def _control(client: RunnerClient, settings: Settings, action: str, model: str) -> None:
    if model not in settings.models:
        served = ", ".join(sorted(settings.models))
        raise UnknownModel(f'no model "{model[:64]}"; configured here: {served[:256]}')
    outcome = client.control(action, model)
    if outcome.error:
        raise ControlError(outcome.error, "missing" if outcome.is_missing else "failed")
