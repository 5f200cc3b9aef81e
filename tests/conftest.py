"""Fixtures of all tests: a store directory on tmpfs that is gone afterwards."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def store_path() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="inferometer-test-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
