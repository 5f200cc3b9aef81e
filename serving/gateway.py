"""The prediction routes as plain WSGI, in front of the Flask application.

Flask's own dispatch is about 40 % of a front-end's time per request, so these routes do without it;
everything else goes on to Flask. Both call the same service.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from serving.body import has_body
from serving.codecs import CODECS
from serving.codecs.base import Codec
from serving.cors import Cors
from serving.exchange import Answer, Incoming, Target
from serving.request_headers import request_id_of
from serving.service import PredictionService
from serving.statuses import plain_error_body
from serving.version_policy import canonical_version
from serving.wsgi_server import Application, StartResponse, WsgiServer

# The fixed words of /v1 match in any case, as in TensorFlow Serving; names match exactly.
TF_SERVING = (
    r"/(?i:v1)/(?i:models)/(?P<model>[^/:]+)"
    r"(?:/(?i:versions)/(?P<version>[0-9]+)|/(?i:labels)/(?P<label>[A-Za-z0-9_]+))?:(?i:%s)/?"
)
OPEN_INFERENCE_INFER = re.compile(
    r"/v2/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[0-9]+))?/infer/?"
)

ALLOWED_METHODS = "OPTIONS, POST"


@dataclass(frozen=True, slots=True)
class Route:
    """A prediction route: what it looks like and whose protocol it speaks."""

    pattern: re.Pattern[str]
    codec: Codec


ROUTES = (
    Route(re.compile(TF_SERVING % "predict"), CODECS["tf_serving"]),
    Route(OPEN_INFERENCE_INFER, CODECS["open_inference"]),
    Route(re.compile(TF_SERVING % "classify"), CODECS["classify"]),
    Route(re.compile(TF_SERVING % "regress"), CODECS["regress"]),
)


class PredictGateway:
    """Answers the prediction routes itself and hands every other request to `application`."""

    def __init__(
        self,
        application: Application,
        service: PredictionService,
        *,
        server: WsgiServer,
        cors: Cors,
    ) -> None:
        """Mount it with `app.wsgi_app = PredictGateway(app.wsgi_app, …)`."""
        self._cors = cors
        self._application = application
        self._service = service
        self._server = server

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        for route in ROUTES:
            match = route.pattern.fullmatch(path)
            if match is None:
                continue
            method = environ["REQUEST_METHOD"]
            if method != "POST":
                return self._server.reply(self._refuse(method, environ), environ, start_response)
            target = Target(**match.groupdict())
            if target.version is not None:
                target = target._replace(version=canonical_version(target.version))
            if not target.model.isascii():
                # WSGI gives the path's bytes as Latin-1.
                name = target.model.encode("latin-1").decode("utf-8", "replace")
                target = target._replace(model=name)
            answer = self._service.answer(
                route.codec, Incoming(target, environ, self._server.body(environ))
            )
            answer.headers.extend(self._cors.headers(environ))
            return self._server.reply(answer, environ, start_response)
        if path.endswith("/") and not path.endswith("//") and path != "/":
            environ["PATH_INFO"] = path[:-1]  # One trailing slash is ignored, without a redirect.
        return self._server.pass_on(self._application, environ, start_response)

    def _refuse(self, method: str, environ: dict[str, Any]) -> Answer:
        """Answer a method that is not POST; it counts in no prediction metric."""
        request_id = request_id_of(environ)
        headers = [
            ("Allow", ALLOWED_METHODS),
            ("Cache-Control", "no-store"),
            ("X-Request-ID", request_id),
            *self._cors.headers(environ),
        ]
        if method == "OPTIONS":
            return Answer("204 No Content", headers, b"")
        message = f"{method[:16]} is not allowed here; allowed: {ALLOWED_METHODS}"
        body = plain_error_body(message, "invalid_input", request_id)
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        shown = b"" if method == "HEAD" else body
        # A body that nobody reads is not read to its end just to keep the connection.
        return Answer("405 Method Not Allowed", headers, shown, closes=has_body(environ))
