"""TensorFlow Serving's routes beside prediction: model status and metadata."""

from dataclasses import replace

from flask import Blueprint
from flask.typing import ResponseReturnValue

from serving.codecs.metadata import tf_serving_metadata, tf_serving_status
from serving.errors import UnknownVersion
from serving.model import ModelVersion
from serving.prediction import RunnerClient

MODELS = "/<word(v1):_v1>/<word(models):_models>"
MODEL = MODELS + "/<name:model>"
VERSION = MODEL + "/<word(versions):_versions>/<version:version>"
LABEL = MODEL + "/<word(labels):_labels>/<label>"


def make_blueprint(client: RunnerClient) -> Blueprint:
    """Return the views over the models that `client` knows."""
    blueprint = Blueprint("tf_serving", __name__)

    @blueprint.get(MODELS)
    def models(**_words: str) -> ResponseReturnValue:
        return {"models": sorted(client.table.versions)}

    @blueprint.get(MODEL)
    @blueprint.get(VERSION)
    @blueprint.get(LABEL)
    def status(
        model: str, version: str | None = None, label: str | None = None, **_words: str
    ) -> ResponseReturnValue:
        return tf_serving_status(model, _versions(client, model, version, label))

    @blueprint.get(MODEL + "/<word(metadata):_metadata>")
    @blueprint.get(VERSION + "/<word(metadata):_metadata>")
    @blueprint.get(LABEL + "/<word(metadata):_metadata>")
    def metadata(
        model: str, version: str | None = None, label: str | None = None, **_words: str
    ) -> ResponseReturnValue:
        return tf_serving_metadata(client.table.ready(model, version, label))

    return blueprint


def _versions(
    client: RunnerClient, model: str, version: str | None, label: str | None
) -> list[ModelVersion]:
    """Return the versions a path names, whatever state they are in."""
    versions = client.table.model(model)
    if not client.is_connected:
        # The table outlives its runner; without one nothing is available.
        versions = tuple(replace(found, state="loading") for found in versions)
    if label is not None:
        version = client.table.labelled(model, label)
    if version is None:
        return list(versions)
    found = [candidate for candidate in versions if candidate.version == version]
    if not found:
        raise UnknownVersion(f"model {model} has no version {version}")
    return found
