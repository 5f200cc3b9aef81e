"""Labels that take long together are broken off, and sent again count once."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from exporter import CATALOGUE, open_recorder
from exporter.quality import Declaration, Measured
from serving.feedback.items import Item
from serving.feedback.measured_versions import MeasuredVersions
from serving.feedback.preparing import Preparer
from serving.feedback.service import CHUNK_ITEMS, MOST_SECONDS, FeedbackService, Unfinished
from serving.feedback.stores.memory import MemoryStore
from serving.feedback.tokens import RowOfPrediction, TokenSigner
from serving.model import ModelVersion

T = TypeVar("T")


class Waiting:
    """One request at a time."""

    def blocking(self, call: Callable[[], T]) -> T:
        return call()

    def computing(self, call: Callable[[], T]) -> T:
        return call()

    def pause(self) -> None:
        pass


def test_labels_that_take_too_long_are_broken_off_and_none_counts_twice(store_path: Path) -> None:
    measured = Measured(Declaration(task="binary"), "serving_default", ("y",), ())
    signer = TokenSigner(["k" * 32], max_age_seconds=1e6)
    with closing(open_recorder(store_path, "frontend", families=CATALOGUE)) as recorder:
        versions = MeasuredVersions(recorder)
        versions.follow([ModelVersion("m", "1", "ready", "keras", {}, measured=measured)])
        waiting = Waiting()
        preparer = Preparer(
            signer, versions, max_age_seconds=1e6, may_come=lambda _: False, apart=waiting.computing
        )
        store = MemoryStore()
        hasty, patient = (
            FeedbackService(
                preparer, store, recorder, waiting, takes_corrections=False, most_seconds=seconds
            )
            for seconds in (0.0, MOST_SECONDS)
        )
        items = [
            Item(signer.sign(RowOfPrediction("A" * 22, row, "m", "1", measured.digest, 0.7)), 1)
            for row in range(3 * CHUNK_ITEMS)
        ]

        with pytest.raises(Unfinished, match="smaller batches") as broken:
            hasty.take(items)
        results = [outcome.result for outcome in patient.take(items)]

    # One chunk at least, or sending again would lead nowhere.
    assert ["counted"] * CHUNK_ITEMS == [one.result for one in broken.value.outcomes]
    assert ["duplicate"] * CHUNK_ITEMS + ["counted"] * 2 * CHUNK_ITEMS == results
