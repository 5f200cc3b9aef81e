"""What the shipped Kubernetes manifests say of a replica, as `kubectl kustomize` renders them."""

import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BASE = Path(__file__).parents[2] / "deploy/kubernetes/base"


@dataclass(frozen=True)
class Deployment:
    """A replica's command line, its settings, and how it is probed, confined and ended."""

    command: list[str]
    settings: str
    readiness: dict[str, Any]
    grace_seconds: float
    user: int
    security: dict[str, Any]
    # The places it may write, and how large each may become.
    writable: dict[str, str]

    @property
    def model(self) -> tuple[str, str]:
        """The only model, and its folder in the container."""
        [model] = tomllib.loads(self.settings)["models"].items()
        return model


def deployment() -> Deployment:
    """Return the base's Deployment."""
    rendered = subprocess.check_output(["kubectl", "kustomize", str(BASE)], text=True)
    manifests = {each["kind"]: each for each in yaml.safe_load_all(rendered)}
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    sizes = {
        volume["name"]: volume["emptyDir"]["sizeLimit"]
        for volume in pod["volumes"]
        if "emptyDir" in volume
    }
    return Deployment(
        [*container["command"], *container["args"]],
        manifests["ConfigMap"]["data"]["inferometer.toml"],
        container["readinessProbe"],
        pod["terminationGracePeriodSeconds"],
        pod["securityContext"]["runAsUser"],
        container["securityContext"],
        {
            mount["mountPath"]: sizes[mount["name"]].rstrip("i")
            for mount in container["volumeMounts"]
            if mount["name"] in sizes
        },
    )
