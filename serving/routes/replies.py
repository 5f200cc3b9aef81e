"""What every Flask reply has in common: JSON errors, the request id, 204 for OPTIONS."""

import logging

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from serving.cors import Cors
from serving.errors import (
    ControlError,
    ControlProblem,
    InternalError,
    PredictionError,
    Unauthorized,
)
from serving.request_headers import request_id_of
from serving.status_page import Phase, ServerState
from serving.statuses import error_body, error_headers, plain_error_body, status_of

JSON = "application/json"
TF_SERVING_PREFIX = "/v1/models/"

logger = logging.getLogger(__name__)


# Status, reason and headers for each way in which loading and unloading can be refused.
CONTROL_STATUSES: dict[ControlProblem, tuple[int, str, dict[str, str]]] = {
    "closed": (403, "invalid_input", {}),
    "missing": (404, "unknown_model", {}),
    "failed": (400, "invalid_input", {}),
}


def install(app: Flask, cors: Cors, state: ServerState) -> None:
    """Register the handlers on an application.

    Replies of a server that leaves ask their connections to close.
    """

    def finish(response: Response) -> Response:
        for name, value in cors.headers(request.environ):
            response.headers[name] = value
        if state.phase != Phase.SERVING:
            response.headers["Connection"] = "close"
        return _finish(response)

    app.before_request(_begin)
    app.after_request(finish)
    app.register_error_handler(PredictionError, _prediction_error)
    app.register_error_handler(ControlError, _control_error)
    app.register_error_handler(Unauthorized, _unauthorized)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _defect)


def _begin() -> Response | None:
    g.request_id = request_id_of(request.environ)
    if _path().startswith("//"):
        raise NotFound  # Werkzeug folds slashes at the beginning; this server folds none.
    if request.method == "OPTIONS" and request.url_rule is not None:
        return Response(status=204, headers={"Allow": _allowed(request.url_rule.methods or set())})
    return None


def _finish(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _prediction_error(error: PredictionError) -> Response:
    return Response(
        error_body(error, g.request_id),
        status_of(error),
        dict(error_headers(error)),
        content_type=JSON,
    )


def _control_error(error: ControlError) -> Response:
    status, reason, headers = CONTROL_STATUSES[error.problem]
    body = plain_error_body(error.message, reason, g.request_id)
    return Response(body, status, headers, content_type=JSON)


def _unauthorized(error: Unauthorized) -> Response:
    body = plain_error_body(str(error), "invalid_input", g.request_id)
    return Response(body, 401, {"WWW-Authenticate": "Bearer"}, content_type=JSON)


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    headers = {}
    path = _path()
    message = f"{path[:64]}: {error.name.lower()}"
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = _allowed(error.valid_methods)
        message = f"{request.method[:16]} is not allowed here; allowed: {headers['Allow']}"
    if code == 404:  # noqa: PLR2004
        message = f'no such path: "{path[:64]}"'
        if path.lower().startswith(TF_SERVING_PREFIX):
            # TensorFlow Serving calls any path of its own that fits no route malformed.
            code = 400
            message = f'malformed request path "{path[:64]}"'
    body = plain_error_body(message, "invalid_input", g.request_id)
    return Response(body, code, headers, content_type=JSON)


def _defect(error: Exception) -> Response:
    logger.error("request %s failed for a reason of the server", g.request_id, exc_info=error)
    return _prediction_error(InternalError("the server failed; its log says why"))


def _path() -> str:
    """Return the path as it was sent, percent-decoded."""
    raw: str = request.environ["PATH_INFO"]
    return raw.encode("latin-1").decode("utf-8", "replace")


def _allowed(methods: object) -> str:
    return ", ".join(sorted(methods))  # type: ignore[call-overload]
