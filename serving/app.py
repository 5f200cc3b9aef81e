"""The Flask application: everything but the prediction routes, which stand in front of it."""

from flask import Flask

from exporter import Scraper
from serving.body import TimeLimit
from serving.cors import Cors
from serving.feedback.assembly import Feedback
from serving.gateway import PredictGateway
from serving.prediction import RunnerClient
from serving.process import store_path_of
from serving.request_metrics import RequestMetrics
from serving.routes import (
    converters,
    debug,
    health,
    metrics_route,
    not_offered,
    open_inference,
    replies,
    repository,
    tf_serving,
)
from serving.routes import feedback as feedback_routes
from serving.service import PredictionService
from serving.settings import Settings
from serving.slow_log import SlowLog
from serving.status_page import ServerState
from serving.wsgi_server import WsgiServer

Application = Flask


def make_app(
    settings: Settings,
    *,
    client: RunnerClient,
    metrics: RequestMetrics,
    scraper: Scraper,
    time_limit: TimeLimit,
    server: WsgiServer,
    feedback: Feedback,
) -> Application:
    """Return the application with the prediction gateway in front of it.

    It is handed ready objects.
    """
    app = Flask("inferometer", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters |= {
        "name": converters.ModelName,
        "version": converters.VersionNumber,
        "word": converters.AnyCaseWord,
    }
    app.extensions["inferometer"] = metrics.recorder
    cors = Cors(settings.cors_origins)
    state = ServerState(settings)
    replies.install(app, cors, state)
    blueprints = [
        health.make_blueprint(client, state),
        metrics_route.make_blueprint(scraper),
        feedback_routes.make_blueprint(feedback.service, settings, time_limit),
        not_offered.make_blueprint(),
        open_inference.make_blueprint(client, settings, scraper),
        repository.make_blueprint(client, settings, time_limit),
        tf_serving.make_blueprint(client),
    ]
    directory = store_path_of(settings)
    if settings.debug_routes:
        blueprints.append(debug.make_blueprint(directory))
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    service = PredictionService(
        client,
        metrics,
        settings,
        time_limit=time_limit,
        state=state,
        slow_log=SlowLog(directory),
        feedback=feedback,
    )
    gateway = PredictGateway(app.wsgi_app, service, server=server, cors=cors)
    app.wsgi_app = gateway  # type: ignore[method-assign]
    return app
