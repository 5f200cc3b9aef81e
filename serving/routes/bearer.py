"""Whether a request carries a token that opens a route."""

import hmac

from flask import request
from pydantic import SecretStr

from serving.errors import Unauthorized


def require_bearer(token: SecretStr, what: str) -> None:
    """Raise Unauthorized unless the present request has this bearer token; `what` names it."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # WSGI gives the header's bytes as Latin-1.
    is_right = hmac.compare_digest(
        given.strip(" \t").encode("latin-1"), token.get_secret_value().encode()
    )
    if scheme.lower() != "bearer" or not is_right:
        raise Unauthorized(f"send the {what} as a bearer token")
