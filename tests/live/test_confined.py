"""A replica as the Deployment confines it: another user, no capability, two places to write.

The container is a mount namespace in which everything else is read-only, made by unshare(1).
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.databases import free_port
from tests.live.deployment import Deployment, deployment
from tests.live.servers import answers, descendants, role_of, samples_of, total, wait_for

PROJECT = Path(__file__).parents[2]
# What this machine's own folders are hidden by.
SETTINGS = "inferometer.toml"
COVER = "mount -t tmpfs -o mode=755 none"
UNSHARE = ["unshare", "--mount", "--propagation=private"]


def _may_mount() -> bool:
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return False
    trial = [*UNSHARE, "mount", "-t", "tmpfs", "none", "/srv"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
    pytest.mark.skipif(not _may_mount(), reason="mounting is not allowed here"),
]


def _closed(path: Path) -> Path | None:
    """Return the outermost folder of a path that other users may not enter."""
    ways = [*reversed(path.parents), path]
    return next((way for way in ways if not way.stat().st_mode & 0o001), None)


def script(manifest: Deployment, model: Path, settings: Path, environment: dict[str, str]) -> str:
    """Return what makes the container and becomes the server in it."""
    python = {Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    needed = [*sorted(python), *(PROJECT / each for each in (".venv", "serving", "exporter"))]
    kept = {path: f"/srv/{number}" for number, path in enumerate(needed)}
    kept |= {model: "/srv/model", settings: "/srv/settings"}
    lines = ["set -e", f"{COVER} /srv"]
    lines += [f"mkdir {place}; mount --bind {path} {place}" for path, place in kept.items()]
    # What lies in a place to write is hidden by it.
    closed = sorted(
        {
            str(found)
            for path in needed
            if (found := _closed(path)) is not None
            and not any(found.is_relative_to(place) for place in manifest.writable)
        }
    )
    lines += [f"{COVER} {path}" for path in closed]
    lines += [
        f"mount -t tmpfs -o mode=1777,size={size} none {place}"
        for place, size in manifest.writable.items()
    ]
    read_only = [*kept.values(), "/srv", *closed]
    for path in needed:
        if any(path.is_relative_to(cover) for cover in (*closed, *manifest.writable)):
            lines.append(f"mkdir -p {path}; mount --bind {kept[path]} {path}")
            read_only.append(str(path))
    lines += [f"mount -o remount,ro,bind {place}" for place in (*read_only, "/")]
    program, verb, config = manifest.command
    server = [f"{PROJECT}/.venv/bin/{program}", verb, f"{config.split('=')[0]}=/srv/settings/{SETTINGS}"]  # fmt: skip # noqa: E501
    user = manifest.user
    confined = [
        "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs",
        "--bounding-set=-all", "--inh-caps=-all",
    ]  # fmt: skip
    given = [f"{name}={value}" for name, value in environment.items()]
    lines.append("exec " + shlex.join([*confined, "env", "-i", *given, *server]))
    return "\n".join(lines)


@pytest.mark.slow
def test_replica_serves_as_the_deployment_confines_it(models: Path, tmp_path: Path) -> None:
    manifest = deployment()
    assert manifest.security["readOnlyRootFilesystem"]
    assert manifest.security["capabilities"] == {"drop": ["ALL"]}
    name, folder = manifest.model
    settings = tmp_path / "settings"
    settings.mkdir()
    (settings / SETTINGS).write_text(manifest.settings.replace(folder, "/srv/model"))
    port, metrics_port = free_port(), free_port()
    environment = {
        # As the image has it.
        "PATH": f"{PROJECT}/.venv/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "INFEROMETER_HOST": "127.0.0.1",
        "INFEROMETER_METRICS_HOST": "127.0.0.1",
        "INFEROMETER_PORT": f"{port}",
        "INFEROMETER_METRICS_PORT": f"{metrics_port}",
    }
    url, metrics = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/metrics"
    command = [*UNSHARE, "bash", "-c", script(manifest, models / "half", settings, environment)]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        ready = f"{url}{manifest.readiness['httpGet']['path']}"
        wait_for(lambda: answers(ready), "ready")
        for pid in [server.pid, *descendants(server.pid)]:
            status = Path(f"/proc/{pid}/status").read_text()
            assert re.search(rf"^Uid:\t{manifest.user}\t{manifest.user}\t", status, re.MULTILINE)
            assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
            root = Path(f"/proc/{pid}/mountinfo").read_text()
            assert re.search(r" / / ro,", root)
        predict = f"{url}/v1/models/{name}:predict"
        for _ in range(3):
            answer = requests.post(predict, '{"instances":[[2,4]]}', timeout=20)
            assert (200, '{"predictions":[[1.0,2.0]]}') == (answer.status_code, answer.text)
        [runner] = [pid for pid in descendants(server.pid) if role_of(pid) == "runner"]
        os.kill(runner, signal.SIGKILL)
        wait_for(lambda: runner not in descendants(server.pid), "the runner is gone")
        wait_for(lambda: answers(ready), "ready again")
        samples = samples_of(requests.get(metrics, timeout=10).text)
        assert 3 == total(samples, "inferometer_requests_total", model=name, code="200")
        assert 1 == total(samples, "inferometer_process_exits_total", role="runner", cause="signal")
        assert 0 == total(samples, "inferometer_exporter_skipped_files")
        server.terminate()
        assert 0 == server.wait(manifest.grace_seconds)
    finally:
        server.kill()
        server.wait()
    said = (tmp_path / "server.log").read_text()
    assert not re.search(
        r"Traceback|Permission denied|Read-only|WARNING \S*(?:exporter|serving)", said
    ), said
