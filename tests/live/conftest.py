"""Fixtures of the live tests: exported models, and servers of them."""

import fcntl
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the test models, exported once for each state of the script that makes them."""
    script = TESTS / "models.py"
    cache = TESTS.parent / ".cache" / "test-models"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / str(script.stat().st_mtime_ns)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            new = Path(tempfile.mkdtemp(dir=cache))
            subprocess.run([sys.executable, script, new], check=True, capture_output=True)
            new.rename(folder)
    return folder
