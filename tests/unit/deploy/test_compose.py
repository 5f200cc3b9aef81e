"""The Compose file: nothing open to the world, nothing unpinned, time enough to drain."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.settings import Settings

DEPLOY = Path(__file__).parents[3] / "deploy"
FILES = sorted(DEPLOY.glob("compose*.yml"))
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yml").read_text())[
    "services"
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_follows_the_compose_specification(file: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    ended = subprocess.run([*command, file], capture_output=True, text=True, check=False)

    assert 0 == ended.returncode, ended.stdout + ended.stderr


def test_images_are_pinned_or_built_here() -> None:
    pulled = [service["image"] for service in SERVICES.values() if "build" not in service]
    built = [service["image"] for service in SERVICES.values() if "build" in service]

    assert len(pulled) == 3
    assert all(re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image) for image in pulled)
    # A name for each: the image of one variant is not taken for another's.
    assert {"inferometer:cpu", "inferometer:demo"} == set(built)


def test_ports_are_published_on_loopback_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(ports) == 5
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_service_has_rights_that_it_does_not_need() -> None:
    for service in SERVICES.values():
        assert ["ALL"] == service["cap_drop"]
        assert ["no-new-privileges"] == service["security_opt"]
    assert SERVICES["inferometer"]["read_only"]


def test_server_has_time_to_drain_and_room_for_its_store() -> None:
    server = SERVICES["inferometer"]
    settings = Settings(models={"m": Path("m")})
    drain = (
        settings.pre_stop_seconds
        + settings.drain_seconds
        + settings.runner_stop_seconds
        + settings.linger_seconds
    )

    assert int(server["stop_grace_period"].removesuffix("s")) >= drain + 20
    assert "256m" == server["shm_size"]
    # What depends on another is stopped before it: the last counts find a Prometheus.
    assert "prometheus" in server["depends_on"]


def test_only_what_is_there_is_mounted_and_only_folders() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    sources = {m["source"] if isinstance(m, dict) else m.split(":")[0] for m in mounts}
    folders = {source for source in sources if source.startswith(".")}

    assert folders
    assert all((DEPLOY / folder).is_dir() for folder in folders)
    assert sources - folders == {"demo", "prometheus", "alertmanager", "grafana"}
