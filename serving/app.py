"""The Flask application: everything but the prediction routes, which stand in front of it."""

from flask import Flask

from exporter import Scraper
from serving.body import TimeLimit
from serving.gateway import PredictGateway, Reply
from serving.prediction import RunnerClient
from serving.request_metrics import RequestMetrics
from serving.routes import converters, health, metrics_route, open_inference, replies, tf_serving
from serving.service import PredictionService
from serving.settings import Settings

Application = Flask


def make_app(
    settings: Settings,
    *,
    client: RunnerClient,
    metrics: RequestMetrics,
    scraper: Scraper,
    time_limit: TimeLimit,
    reply: Reply,
) -> Application:
    """Return the application with the prediction gateway in front of it.

    It is handed ready objects.
    """
    app = Flask("inferometer", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters |= {"word": converters.AnyCaseWord, "name": converters.ModelName}
    app.extensions["inferometer"] = metrics.recorder
    replies.install(app)
    for blueprint in (
        health.make_blueprint(client),
        metrics_route.make_blueprint(scraper),
        open_inference.make_blueprint(client),
        tf_serving.make_blueprint(client),
    ):
        app.register_blueprint(blueprint)
    service = PredictionService(client, metrics, settings, time_limit=time_limit)
    app.wsgi_app = PredictGateway(app.wsgi_app, service, reply=reply)  # type: ignore[method-assign]
    return app
