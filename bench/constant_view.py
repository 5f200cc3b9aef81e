"""The reference.

A Flask view, in the front-ends' gunicorn configuration, that parses the JSON and answers a
constant.
"""

import os

from flask import Flask, request
from flask.typing import ResponseReturnValue

# The configuration of the real front-ends; only the application differs.
from serving.gunicorn_conf import *  # noqa: F403

wsgi_app = "bench.constant_view:make_app()"
PREDICTIONS = {"predictions": [[0.1] * 10]}


def make_app() -> Flask:
    """Return the application."""
    app = Flask("constant")

    @app.post("/v1/models/dense:predict")
    def predict() -> ResponseReturnValue:
        assert request.get_json(force=True)["instances"]
        return PREDICTIONS

    @app.get("/readyz")
    def ready() -> ResponseReturnValue:
        return {"ready": True, "pid": os.getpid()}

    return app
