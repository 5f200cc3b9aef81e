"""Fixtures of the GPU tests: a stand-in for the driver's library, and a store."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gpu.stand_in import Gpus, build


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for builds of the stand-in; without a compiler the test is skipped."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc)")
    return tmp_path_factory.mktemp("nvml")


@pytest.fixture
def gpus(libraries: Path, tmp_path: Path) -> Gpus:
    return Gpus(tmp_path, build(libraries))


@pytest.fixture
def store() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder) / "store"
