"""What the prediction routes need of the server they run in, and how any WSGI server gives it."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from serving.body import Fillable, Readable
from serving.exchange import Answer

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class WsgiServer(Protocol):
    """Where bodies come from and answers go to."""

    def body(self, environ: dict[str, Any]) -> Readable | Fillable:
        """Return where the body of a request is read from."""

    def reply(
        self, answer: Answer, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Send an answer; what comes back is what the WSGI application returns."""

    def pass_on(
        self, application: Application, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Have an application answer, which may leave the request's body unread."""


class PlainServer:
    """Any WSGI server."""

    def body(self, environ: dict[str, Any]) -> Readable | Fillable:
        """Return where the body of a request is read from."""
        stream: Readable = environ["wsgi.input"]
        return stream

    def reply(
        self, answer: Answer, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Send an answer."""
        del environ
        headers = answer.headers
        if answer.closes or not answer.keeps_open:
            headers = [*headers, ("Connection", "close")]
        start_response(answer.status, headers)
        return (answer.body,)

    def pass_on(
        self, application: Application, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Have an application answer."""
        return application(environ, start_response)
