"""What the runner knows of its models' versions, and what of it is shown."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import CATALOGUE, open_recorder
from exporter.store_reader import StoreReader
from serving.model import NO_VERSION, ModelVersion
from serving.runner.catalog import MOST_ENDED, ModelCatalog


class Bench:
    """A catalog of one model, and the states of its versions as a reader of the store has them."""

    def __init__(self, store: Path) -> None:
        self._recorder = open_recorder(store, "runner", families=CATALOGUE)
        self._reader = StoreReader(store)
        self.catalog = ModelCatalog(["m"], self._recorder)

    def note(self, version: str, state: str) -> None:
        self.catalog.note(ModelVersion("m", version, state, "saved_model", {}))

    def shown(self) -> dict[str, str]:
        """Return the state of each version that has a row."""
        family = self._reader.view().families["inferometer_model_state"]
        return {
            version: state
            for (_, version, state), series in family.series.items()
            if series.cells[0] == 1
        }

    def close(self) -> None:
        self._recorder.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_model_has_a_state_before_any_version_is_known(bench: Bench) -> None:
    before = bench.shown()
    bench.note("1", "loading")

    assert {NO_VERSION: "loading"} == before
    assert {"1": "loading"} == bench.shown()


def test_versions_that_are_forgotten_do_not_come_back(bench: Bench) -> None:
    many = [str(number) for number in range(1, MOST_ENDED + 4)]
    for version in many:
        bench.note(version, "failed")
    # It is the oldest of too many, and goes as it comes.
    bench.note("0", "failed")

    kept = many[-MOST_ENDED:]
    assert dict.fromkeys(kept, "failed") == bench.shown()
    assert set(kept) == {known.version for known in bench.catalog.versions()}


def test_failed_version_that_nobody_wants_any_more_has_ended(bench: Bench) -> None:
    bench.note("2", "failed")
    bench.note("3", "failed")
    bench.note("4", "ready")

    assert bench.catalog.end_failed("m", wanted=["3", "4"])
    assert {"2": "unloaded", "3": "failed", "4": "ready"} == bench.shown()
    assert not bench.catalog.end_failed("m", wanted=["3", "4"])
