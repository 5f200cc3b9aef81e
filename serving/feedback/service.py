"""The story of labels, top to bottom: verify, parse, claim, count.

In chunks: a chunk's labels are claimed together, and then counted. Whoever dies in between loses
them; no label is counted twice for as long as its claim lives, which is as long as its token.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from exporter import Recorder
from exporter.quality import Sums, VersionSeries
from serving.feedback.items import Item, MalformedItem
from serving.feedback.preparing import STORE_ERROR, Prepared, Preparer, Refusal, unclaimed
from serving.feedback.stores.base import ClaimStore, ClaimStoreError, Key

CHUNK_ITEMS = 64
# Of labels that bring predictions back, which take long: fewer are at stake.
FEW_ITEMS = 8
MOST_RACES = 5
# How long the labels of one request may take; nobody may be there any more.
MOST_SECONDS = 30.0
STORE_DOWN = "labels cannot be claimed at the moment; send all of it again"
TOO_LONG = "the labels take too long together; send all of it again, in smaller batches"
MESSAGES = {
    "conflict": "another label is counted for this row",
    STORE_ERROR: "the label could not be claimed; send it again",
}

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Waiting(Protocol):
    """How a front-end waits without keeping its requests waiting."""

    def blocking(self, call: Callable[[], T]) -> T:
        """Return what a call returns that may wait for long; one at a time."""

    def computing(self, call: Callable[[], T]) -> T:
        """Return what a call returns that may compute for long."""

    def pause(self) -> None:
        """Let others run."""


class Outcome(NamedTuple):
    """What came of a label: the result as on /metrics, and why, where it did not count."""

    result: str
    message: str = ""
    model: str = ""
    version: str = ""


class Unfinished(Exception):
    """Not all labels were looked at; `outcomes` are those of the first, the message says why."""

    def __init__(self, message: str, outcomes: list[Outcome]) -> None:
        super().__init__(message)
        self.outcomes = outcomes


def brings_prediction(item: Item | MalformedItem) -> bool:
    """Return whether a label brings its prediction back: counting it may take milliseconds."""
    return isinstance(item, Item) and item.prediction is not None


class FeedbackService:
    """Takes labels, one or many."""

    def __init__(
        self,
        preparer: Preparer,
        store: ClaimStore,
        recorder: Recorder,
        waiting: Waiting,
        *,
        takes_corrections: bool,
        most_seconds: float = MOST_SECONDS,
    ) -> None:
        """`takes_corrections` lets another label replace the first."""
        self._preparer = preparer
        self._store = store
        self._recorder = recorder
        self._waiting = waiting
        self._takes_corrections = takes_corrections
        self._most_seconds = most_seconds

    def pause(self) -> None:
        """Let other requests run."""
        self._waiting.pause()

    def take(
        self, items: Sequence[Item | MalformedItem], *, is_dry_run: bool = False
    ) -> list[Outcome]:
        """Count labels, and return what came of each, in their order.

        A dry run says what would come of them, were each the only one, and counts nothing.
        Raises Unfinished when the store fails, or they take longer than `most_seconds`.
        """
        outcomes: list[Outcome] = []
        size = FEW_ITEMS if any(map(brings_prediction, items)) else CHUNK_ITEMS
        end = time.monotonic() + self._most_seconds
        for start in range(0, len(items), size):
            if start and time.monotonic() > end:
                raise Unfinished(TOO_LONG, outcomes)
            prepared = [self._prepared(item) for item in items[start : start + size]]
            claimants = [one for one in prepared if isinstance(one, Prepared)]
            failure: ClaimStoreError | None = None
            try:
                found = self._claimed(claimants, is_dry_run=is_dry_run)
            except ClaimStoreError as error:
                logger.warning("labels cannot be claimed: %s", error)
                found, failure = [STORE_ERROR] * len(claimants), error
            taken = list(self._results(prepared, iter(found)))
            outcomes += taken
            if not is_dry_run:
                self._count_results(taken)
            if failure is not None:
                raise Unfinished(STORE_DOWN, outcomes) from failure
            self._waiting.pause()
        return outcomes

    def _prepared(self, item: Item | MalformedItem) -> Prepared | Refusal:
        if isinstance(item, MalformedItem):
            return Refusal("bad_label", str(item))
        return self._preparer.prepare(item)

    def _claimed(self, claimants: list[Prepared], *, is_dry_run: bool) -> list[str]:
        """Claim and count; return the result of each."""
        if not claimants:
            return []
        claims = [one.claim for one in claimants]
        if is_dry_run:
            keys = [claim.key for claim in claims]
            held = self._waiting.blocking(lambda: self._store.look_up(keys))
        else:
            held = self._waiting.blocking(lambda: self._store.claim(claims))
        sums: dict[VersionSeries, Sums] = {}
        # What corrections of this chunk have left in the store.
        now_held: dict[Key, bytes] = {}
        results = []
        for one, found in zip(claimants, held, strict=True):
            mine = sums.setdefault(one.version.series, Sums())
            before = now_held.get(one.claim.key, found)
            if before is None:
                mine.update(one.sums)
                results.append("counted")
            elif before == one.claim.label:
                results.append("duplicate")
            else:
                result = self._corrected(one, before, mine, is_dry_run=is_dry_run)
                if result == "corrected":
                    now_held[one.claim.key] = one.claim.label
                results.append(result)
        if not is_dry_run:
            for series, added in sums.items():
                series.record(added)
        return results

    def _corrected(self, one: Prepared, before: bytes, sums: Sums, *, is_dry_run: bool) -> str:
        """Replace the label that was counted; return `conflict` where that cannot be."""
        task = one.version.measured.task
        if not (self._takes_corrections and task.is_correctable and one.is_truth):
            return "conflict"
        for _ in range(MOST_RACES):
            old = unclaimed(before)
            if old is None:
                return "conflict"
            try:
                if is_dry_run or self._replaced(one, before):
                    self._count_correction(one, old, sums)
                    return "corrected"
                # Another process was faster: what is there now is what is to be replaced.
                (found,) = self._waiting.blocking(lambda: self._store.look_up([one.claim.key]))
            except ClaimStoreError as error:
                # The others of the chunk are claimed by now, and must be counted.
                logger.warning("a label cannot be corrected: %s", error)
                return STORE_ERROR
            if found is None or found == one.claim.label:
                return "duplicate" if found else STORE_ERROR
            before = found
        return STORE_ERROR

    def _count_correction(self, one: Prepared, old: object, sums: Sums) -> None:
        one.version.measured.task.retract(one.row.values, old, sums)
        for name, labels, amount in one.sums.amounts():
            if name == "outcomes_total":
                sums.add(name, amount, **labels)

    def _replaced(self, one: Prepared, before: bytes) -> bool:
        """Return whether the store has taken the new label in place of the old one."""
        key, new = one.claim.key, one.claim.label
        return self._waiting.blocking(lambda: self._store.correct(key, old=before, new=new))

    def _results(
        self, prepared: list[Prepared | Refusal], found: Iterator[str]
    ) -> Iterator[Outcome]:
        for one in prepared:
            if isinstance(one, Refusal):
                yield Outcome(*one)
                continue
            result = next(found)
            yield Outcome(result, MESSAGES.get(result, ""), one.row.model, one.row.version)

    def _count_results(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._recorder.child("inferometer_feedback_total", result=outcome.result).inc()
