"""What the protocols know and this server does not offer: 501, so that callers ask differently."""

from typing import NoReturn

from flask import Blueprint

from serving.errors import NotOffered

MODEL = "/v2/models/<name:model>"

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PATHS = (
    "/v2/systemsharedmemory/<path:_rest>",
    "/v2/cudasharedmemory/<path:_rest>",
    "/v2/logging",
    "/v2/trace/setting",
    MODEL + "/trace/setting",
    MODEL + "/versions/<version:_version>/trace/setting",
    MODEL + "/generate",
    MODEL + "/generate_stream",
    MODEL + "/versions/<version:_version>/generate",
    MODEL + "/versions/<version:_version>/generate_stream",
)


def make_blueprint() -> Blueprint:
    """Return one view for all of them, whatever the method."""
    blueprint = Blueprint("not_offered", __name__)

    def refuse(**_parts: str) -> NoReturn:
        raise NotOffered("this is known to the protocol, but not offered here")

    for path in PATHS:
        blueprint.add_url_rule(path, view_func=refuse, methods=METHODS)
    return blueprint
