"""Cross-origin resource sharing: which web pages may ask, and what they may read of a reply.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from collections.abc import Mapping

EXPOSED = (
    "Inference-Header-Content-Length, Retry-After, Server-Timing, X-Model-Version,"
    " X-Prediction-ID, X-Feedback-Token, X-Request-ID"
)
ALLOWED_METHODS = "GET, HEAD, OPTIONS, POST"
MAX_AGE_SECONDS = "600"

Headers = list[tuple[str, str]]


class Cors:
    """The headers that let pages of the allowed origins read replies."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        """Allow these origins, all of them with `*`, none where there are none."""
        self._origins = frozenset(origins)

    def headers(self, environ: Mapping[str, object]) -> Headers:
        """Return the headers of the reply to a request, more for a preflight."""
        if not self._origins:
            return []
        vary = [("Vary", "Origin")]
        origin = environ.get("HTTP_ORIGIN")
        if not isinstance(origin, str) or not ("*" in self._origins or origin in self._origins):
            return vary
        allowed = "*" if "*" in self._origins else origin
        headers = [*vary, ("Access-Control-Allow-Origin", allowed)]
        if "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in environ:
            return [*headers, ("Access-Control-Expose-Headers", EXPOSED)]
        wanted = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
        if isinstance(wanted, str) and wanted:
            headers.append(("Access-Control-Allow-Headers", wanted))
        return [
            *headers,
            ("Access-Control-Allow-Methods", ALLOWED_METHODS),
            ("Access-Control-Max-Age", MAX_AGE_SECONDS),
        ]
