"""The server as the first process of a container, which the kernel treats unlike any other."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.servers import clean_environment, descendants, start_server, wait_for

PR_SET_CHILD_SUBREAPER = 36
ADOPTS = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({PR_SET_CHILD_SUBREAPER}, 1)
os.execv(sys.argv[1], sys.argv[1:])
"""
NEW_PIDS = ["unshare", "--pid", "--fork", "--kill-child"]


def _may_be_first() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NEW_PIDS, "true"], capture_output=True, check=False).returncode == 0


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_orphans_are_reaped(models: Path, tmp_path: Path) -> None:
    adopts = [sys.executable, "-c", ADOPTS]
    with start_server({"half": models / "half"}, tmp_path, wrapper=adopts) as server:
        workers = server.pids("frontend")
        [arbiter] = {_parent(worker) for worker in workers}
        os.kill(arbiter, signal.SIGKILL)

        wait_for(server.is_ready, "others serve")
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "reaped")
        assert not any(map(_is_zombie, descendants(server.process.pid)))


@pytest.mark.skipif(not _may_be_first(), reason="no namespace of processes may be made here")
def test_first_process_ends_at_the_first_signal_however_early(models: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving", "serve", "--port=0", "--metrics-port=0"]
    with (tmp_path / "server.log").open("wb") as log:
        outer = subprocess.Popen(
            [*NEW_PIDS, *command, f"half={models / 'half'}"],
            stdout=log, stderr=log, env=clean_environment(),
        )  # fmt: skip
    try:
        [first] = wait_for(lambda: descendants(outer.pid), "it is there")

        def has_ended() -> bool:
            # What is sent before Python runs is lost: so again and again, as a first signal.
            with suppress(ProcessLookupError):
                os.kill(first, signal.SIGTERM)
            return outer.poll() is not None

        wait_for(has_ended, "it has ended")
    finally:
        outer.kill()

    # A second one that it hears would have ended it in a hurry, with 1.
    assert 0 == outer.returncode
