"""`/debug/slow`: the slowest and the failed requests of the last ten minutes, of all front-ends."""

from pathlib import Path

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from serving.errors import InvalidInput
from serving.slow_log import MOST_REQUESTS, WINDOW_SECONDS, read_slow

KINDS = ("slow", "failed")
DEFAULT_REQUESTS = 20


def make_blueprint(directory: Path) -> Blueprint:
    """Return the view over what the front-ends keep in `directory`."""
    blueprint = Blueprint("debug", __name__)

    @blueprint.get("/debug/slow")
    def slow() -> ResponseReturnValue:
        kind = request.args.get("kind", KINDS[0])
        if kind not in KINDS:
            raise InvalidInput(f'kind="{kind[:64]}"; expected one of {", ".join(KINDS)}')
        wanted = request.args.get("n", str(DEFAULT_REQUESTS))
        is_number = wanted.isascii() and wanted.isdecimal() and len(wanted) <= 3  # noqa: PLR2004
        if not is_number or not 1 <= int(wanted) <= MOST_REQUESTS:
            raise InvalidInput(f'n="{wanted[:64]}"; expected 1 to {MOST_REQUESTS}')
        requests = read_slow(directory, kind, int(wanted))
        return {"window_seconds": WINDOW_SECONDS, "requests": requests}

    return blueprint
