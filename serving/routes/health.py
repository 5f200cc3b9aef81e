"""Liveness, readiness and the root: what probes and clients ask before they ask anything else."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from serving import __version__
from serving.prediction import RunnerClient
from serving.status_page import Phase, ServerState

# It looks after its children each second.
SUPERVISOR_HANGS_SECONDS = 30.0


def make_blueprint(client: RunnerClient, state: ServerState) -> Blueprint:
    """Return the views; readiness is what `client` says, unless the server is leaving."""
    blueprint = Blueprint("health", __name__)

    def reasons_against() -> list[str]:
        if state.phase != Phase.SERVING:
            return ["the server is draining"]
        return client.not_ready()

    @blueprint.get("/livez")
    @blueprint.get("/v2/health/live")
    def live() -> ResponseReturnValue:
        # The front-end answers, whatever the runner does: a restart of this process would not help
        # it. But nobody restarts anything while the supervisor hangs.
        if state.phase == Phase.SERVING and state.silent_seconds() > SUPERVISOR_HANGS_SECONDS:
            reasons = ["the supervisor makes no progress"]
            return {"status": "hung", "live": False, "reasons": reasons}, 503
        return {"status": "alive", "live": True}

    @blueprint.get("/readyz")
    @blueprint.get("/v2/health/ready")
    def ready() -> ResponseReturnValue:
        reasons = reasons_against()
        if not reasons:
            return {"status": "ready", "ready": True, "live": True}
        body = {"status": "not ready", "ready": False, "live": True, "reasons": reasons}
        return body, 503, {"Retry-After": "1"}

    @blueprint.get("/healthz")
    def health() -> ResponseReturnValue:
        # Always 200: a liveness probe that read readiness here would kill a server that is loading.
        return {"status": "alive", "live": True, "ready": not reasons_against()}

    @blueprint.get("/")
    def root() -> ResponseReturnValue:
        return {"status": "alive", "name": "inferometer", "version": __version__}

    return blueprint
