"""The queue and the batcher.

What shares a device call, in which order, and what a failure costs.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import CATALOGUE, NullRecorder, Recorder, open_recorder
from exporter.store_reader import StoreReader
from serving.errors import (
    DeadlineExceeded,
    Draining,
    ModelError,
    PredictedLate,
    PredictionError,
    QueueFull,
)
from serving.model import ModelVersion
from serving.runner.batcher import Batcher
from serving.runner.declared import unmeasured
from serving.runner.device_time import DeviceTime
from serving.runner.durations import DurationEstimate
from serving.runner.isolation import IsolationBudget
from serving.runner.job import HIGH, LOW, NORMAL, BatchKey, Job
from serving.runner.limits import ByteBudget, QueueLimits
from serving.runner.measuring import Measurement
from serving.runner.profiled import profiled
from serving.runner.queue import BatchQueue
from serving.runner.served import BatchMetrics, ServedVersion
from serving.runner.sizes import BatchSizes
from tests.fakes import DoublingModel

FAR_SECONDS = 60.0


class Shown:
    """The queue's gauges on /metrics."""

    def __init__(self, recorder: Recorder) -> None:
        self._rows = recorder.child("inferometer_queue_rows", model="m")
        self._oldest = recorder.child("inferometer_queue_oldest_age_seconds", model="m")
        self._wait = recorder.child("inferometer_predicted_wait_seconds", model="m")

    def show_waiting(self, rows: int, oldest: float) -> None:
        self._rows.set(rows)
        self._oldest.set(oldest)

    def show_wait(self, seconds: float) -> None:
        self._wait.set(seconds)


class Bench:
    """A model with its queue, its batch thread and its metrics."""

    def __init__(
        self,
        store_path: Path,
        *,
        model: DoublingModel | None = None,
        max_rows: int = 4,
        allowed: tuple[int, ...] = (),
        limit_rows: int = 64,
        limit_keys: int = 8,
        limit_bytes: int = 1 << 20,
        delay_seconds: float = 0.0,
        aging_seconds: float = 1.0,
        instances: int = 1,
        admits_late: bool = False,
        isolation_share: float = 0.1,
    ) -> None:
        self.model = model or DoublingModel()
        self.recorder = open_recorder(store_path, "runner", families=CATALOGUE)
        self._reader = StoreReader(store_path)
        self.queue = BatchQueue(
            "m",
            limits=QueueLimits(
                limit_rows,
                limit_keys,
                delay_seconds,
                aging_seconds,
                instances,
                admits_late=admits_late,
            ),
            sizes=BatchSizes(allowed, max_rows),
            budget=ByteBudget(limit_bytes),
            gauges=Shown(self.recorder),
        )
        device_time = DeviceTime(self.recorder, "cpu")
        metrics = BatchMetrics(self.recorder, model="m", version="1", device_time=device_time)
        version = ModelVersion("m", "1", "ready", "saved_model", {})
        measured = unmeasured(version)
        self.served = ServedVersion(
            "m",
            "1",
            self.model,
            metrics,
            {"serving_default": True},
            Measurement(self.recorder, version, profiled(None, version, measured), lambda: None),
        )
        self.batchers = [
            Batcher(
                self.queue,
                find=lambda _model, _version: self.served,
                after_batch=lambda: None,
                isolation=IsolationBudget(isolation_share),
                batch_ids=itertools.count(1),
                instance=instance,
            )
            for instance in range(instances)
        ]

    def start(self) -> None:
        for batcher in self.batchers:
            batcher.start()

    @property
    def durations(self) -> DurationEstimate:
        return self.queue.durations.of("1", "serving_default")

    def hold_device(self) -> None:
        """Start the batch thread and keep it inside a call until `release`."""
        self.model.gate = threading.Event()
        self.start()
        self.first = Answer(self, [[1.0, 1.0]])
        assert self.model.entered.wait(10)

    def release(self) -> None:
        assert self.model.gate is not None
        self.model.gate.set()

    def value(self, name: str, *labels: str) -> float:
        return self._reader.view().families[f"inferometer_{name}"].series[labels].cells[0]

    def stop(self) -> None:
        if self.model.gate is not None:
            self.model.gate.set()
        self.queue.drain()
        for batcher in self.batchers:
            batcher.join(10)
        self.recorder.close()


class Answer:
    """A job on its way, and its answer."""

    def __init__(
        self,
        bench: Bench,
        rows: list[list[float]],
        *,
        seconds: float = FAR_SECONDS,
        key: str = "",
        priority: int = NORMAL,
        is_batchable: bool = True,
    ) -> None:
        self._answered = threading.Event()
        array = np.array(rows, np.float32)
        self.job = Job(
            model="m",
            version="1",
            signature="serving_default",
            inputs=(array,),
            rows=len(rows),
            size_bytes=array.nbytes,
            key=BatchKey("1", "serving_default", ((key, (2,)),), is_batchable),
            priority=priority,
            deadline_ns=time.monotonic_ns() + int(seconds * 1e9),
            answer=lambda _job: self._answered.set(),
        )
        bench.queue.offer(self.job)
        bench.queue.wake()

    def get(self) -> list[list[float]]:
        assert self._answered.wait(10)
        if self.job.error is not None:
            raise self.job.error
        assert self.job.outputs is not None
        return self.job.outputs["y"].tolist()


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(store_path: Path) -> Iterator[MakeBench]:
    benches: list[Bench] = []

    def make(**options: object) -> Bench:
        benches.append(Bench(store_path, **options))  # type: ignore[arg-type]
        return benches[-1]

    yield make
    for bench in benches:
        bench.stop()


def test_an_idle_device_takes_a_row_at_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.start()

    assert Answer(bench, [[1, 2]]).get() == [[2, 4]]
    assert bench.value("batches_total", "m", "1", "idle") == 1


def test_rows_that_wait_for_the_device_share_the_next_batch(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=8)
    bench.hold_device()
    answers = [Answer(bench, [[n, n]]) for n in range(5)]

    bench.release()

    assert [answer.get() for answer in answers] == [[[2 * n, 2 * n]] for n in range(5)]
    assert bench.model.calls == [1, 5]


def test_a_batch_leaves_full_when_the_next_entry_does_not_fit(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=4)
    bench.hold_device()
    answers = [Answer(bench, [[n, n]] * 3) for n in range(2)]

    bench.release()

    assert [answer.get() for answer in answers] == [[[0, 0]] * 3, [[2, 2]] * 3]
    assert bench.model.calls == [1, 3, 3]
    assert bench.value("batches_total", "m", "1", "full") == 1


def test_a_large_request_is_cut_and_small_ones_wait_for_one_slice(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=4)
    bench.hold_device()
    large = Answer(bench, [[n, n] for n in range(10)])
    small = Answer(bench, [[99, 99]])

    bench.release()

    assert large.get() == [[2 * n, 2 * n] for n in range(10)]
    assert small.get() == [[198, 198]]
    # The held row, a slice, the small row with the rest of another slice, the last slice.
    assert sum(bench.model.calls) == 12
    assert bench.model.calls[:2] == [1, 4]
    assert small.job.computed_ns < large.job.computed_ns


def test_different_row_shapes_never_share_a_batch(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=8)
    bench.hold_device()
    answers = [Answer(bench, [[n, n]], key=str(n % 2)) for n in range(4)]

    bench.release()

    assert [answer.get() for answer in answers] == [[[2 * n, 2 * n]] for n in range(4)]
    assert bench.model.calls == [1, 2, 2]


def test_padding_reaches_an_allowed_size_and_is_cut_off_again(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=8, allowed=(1, 4, 8))
    bench.hold_device()
    answers = [Answer(bench, [[n, n]]) for n in range(3)]

    bench.release()

    assert [answer.get() for answer in answers] == [[[2 * n, 2 * n]] for n in range(3)]
    assert bench.model.calls == [1, 4]
    assert bench.value("batch_padding_rows_total", "m", "1") == 1


def test_one_bad_row_costs_its_own_request_only(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=8)
    bench.hold_device()
    good = Answer(bench, [[1, 2]])
    bad = Answer(bench, [[13, 2]])
    also_good = Answer(bench, [[3, 4]])

    bench.release()

    assert good.get() == [[2, 4]]
    assert also_good.get() == [[6, 8]]
    with pytest.raises(ModelError, match="13 brings bad luck"):
        bad.get()
    assert bench.value("batch_retries_total", "m", "1") == 3


def test_a_single_failing_request_is_not_run_again(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.start()

    with pytest.raises(ModelError):
        Answer(bench, [[13, 0]]).get()

    assert bench.model.calls == [1]
    assert bench.value("batch_retries_total", "m", "1") == 0


def test_a_wrong_number_of_output_rows_fails_the_batch(make_bench: MakeBench) -> None:
    bench = make_bench(model=DoublingModel(extra_rows=1))
    bench.start()

    with pytest.raises(ModelError, match=r"shape \[2, 2\] for 1 rows"):
        Answer(bench, [[1, 2]]).get()


def test_rows_past_their_deadline_never_reach_the_device(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.hold_device()
    late = Answer(bench, [[1, 2]], seconds=0.0)

    bench.release()

    with pytest.raises(DeadlineExceeded):
        late.get()
    bench.first.get()
    assert bench.model.calls == [1]


def test_a_removed_job_is_not_computed(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.hold_device()
    gone = Answer(bench, [[1, 2]])
    stays = Answer(bench, [[3, 4]])

    bench.queue.remove(gone.job)
    bench.release()

    assert stays.get() == [[6, 8]]
    assert bench.model.calls == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit_rows": 8}, "8 of 8 rows are waiting"),
        ({"limit_bytes": 64}, "bytes that may wait"),
        ({"limit_keys": 1}, "different row shapes"),
    ],
    ids=["rows", "bytes", "keys"],
)
def test_what_does_not_fit_is_refused_with_a_time_to_retry(
    make_bench: MakeBench, options: dict[str, int], message: str
) -> None:
    bench = make_bench(max_rows=4, **options)
    bench.hold_device()
    Answer(bench, [[1, 2]] * 8)

    with pytest.raises(QueueFull, match=message) as refused:
        Answer(bench, [[1, 2]], key="another")

    assert refused.value.retry_after_seconds is not None


def test_a_draining_queue_refuses_and_finishes_what_it_has(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.hold_device()
    waiting = Answer(bench, [[1, 2]])
    bench.queue.drain()

    with pytest.raises(Draining):
        Answer(bench, [[1, 2]])
    bench.release()

    assert waiting.get() == [[2, 4]]
    assert bench.batchers[0].join(10)


def test_a_configured_delay_gathers_rows(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=4, delay_seconds=5.0)
    bench.start()

    answers = [Answer(bench, [[n, n]]) for n in range(4)]

    assert [answer.get() for answer in answers] == [[[2 * n, 2 * n]] for n in range(4)]
    assert bench.model.calls == [4]


def test_a_delay_ends_before_a_deadline_is_missed(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=4, delay_seconds=30.0)
    bench.start()
    bench.durations.learn(4, 0.5)

    assert Answer(bench, [[1, 2]], seconds=1.5).get() == [[2, 4]]
    assert bench.value("batches_total", "m", "1", "deadline") == 1


def test_queue_gauges_tell_what_waits(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.hold_device()
    waiting = Answer(bench, [[1, 2]] * 3)

    assert bench.value("queue_rows", "m") == 3
    assert bench.value("queue_oldest_age_seconds", "m") > 0

    bench.release()
    waiting.get()

    assert bench.value("queue_rows", "m") == 0
    assert bench.value("queue_oldest_age_seconds", "m") == 0


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), max_rows=st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_every_request_gets_its_own_rows_in_order(
    sizes: list[int], max_rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = Bench(tmp_path_factory.mktemp("store"), max_rows=max_rows, limit_rows=1000)
    bench.hold_device()
    rows = [[[100.0 * i + j, j] for j in range(size)] for i, size in enumerate(sizes)]
    answers = [Answer(bench, block) for block in rows]
    bench.release()

    try:
        for block, answer in zip(rows, answers, strict=True):
            try:
                assert answer.get() == [[2 * a, 2 * b] for a, b in block]
            except PredictionError:
                # 13 brings bad luck to the whole request that has it.
                assert any(13 in row for row in block)
        assert max(bench.model.calls) <= max_rows
    finally:
        bench.stop()


@pytest.mark.parametrize(
    ("rows", "seconds", "expected"),
    [
        (3, {}, (3, 4)),
        (3, {4: 1.0, 2: 0.1}, (2, 2)),
        (3, {4: 1.0, 2: 0.9}, (3, 4)),
        (1, {4: 1.0, 1: 0.1}, (1, 1)),
        (8, {}, (8, 8)),
    ],
    ids=["unmeasured-up", "down-is-faster", "up-is-faster", "exact", "most"],
)
def test_the_faster_allowed_size_is_chosen(
    rows: int, seconds: dict[int, float], expected: tuple[int, int]
) -> None:
    durations = DurationEstimate()
    for size, duration in seconds.items():
        durations.learn(size, duration)

    assert BatchSizes((1, 2, 4, 8), 8).choose(rows, durations) == expected


def test_an_outlier_moves_an_estimate_a_little() -> None:
    durations = DurationEstimate()
    durations.learn(4, 1.0)

    durations.learn(4, 100.0)

    assert durations.seconds(4) == pytest.approx(1.0 + 0.2 * 3.0)
    assert durations.seconds(64) == durations.seconds(4)


def test_high_priority_goes_first_and_low_fills_what_is_left(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=2)
    bench.hold_device()
    low, normal, high = (Answer(bench, [[p, p]], priority=p) for p in (LOW, NORMAL, HIGH))

    bench.release()

    for answer in (low, normal, high):
        answer.get()
    assert bench.model.calls == [1, 2, 1]
    assert high.job.taken_ns == normal.job.taken_ns < low.job.taken_ns


def test_low_priority_is_delayed_and_never_starved(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=1, aging_seconds=1e-6)
    bench.hold_device()
    low = Answer(bench, [[3, 3]], priority=LOW)
    high = Answer(bench, [[1, 1]], priority=HIGH)

    bench.release()

    assert [low.get(), high.get()] == [[[6, 6]], [[2, 2]]]
    assert low.job.taken_ns < high.job.taken_ns


def test_low_priority_may_fill_half_of_the_queue(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=4, limit_rows=8)
    bench.hold_device()
    Answer(bench, [[1, 2]] * 4, priority=LOW)

    with pytest.raises(QueueFull, match="4 rows are waiting; low priority has 4"):
        Answer(bench, [[1, 2]], priority=LOW)

    assert Answer(bench, [[1, 2]]).job.error is None


def test_low_priority_is_admitted_whole_while_less_than_half_waits(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=4, limit_rows=8)
    bench.hold_device()

    assert Answer(bench, [[1, 2]] * 7, priority=LOW).job.error is None


def test_what_would_come_too_late_is_refused_at_once(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=4)
    bench.durations.learn(1, 5.0)
    bench.hold_device()

    with pytest.raises(PredictedLate, match=r"an answer is expected in \d+\.\d+ s") as refused:
        Answer(bench, [[1, 2]], seconds=1.0)

    assert 4 < (refused.value.retry_after_seconds or 0) < 10
    assert Answer(bench, [[1, 2]], seconds=30.0).job.error is None


def test_an_idle_device_admits_whatever_was_predicted(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.durations.learn(1, 1000.0)
    bench.start()

    assert Answer(bench, [[1, 2]]).get() == [[2, 4]]


def test_nothing_is_predicted_where_that_is_switched_off(make_bench: MakeBench) -> None:
    bench = make_bench(admits_late=True)
    bench.durations.learn(1, 1000.0)
    bench.hold_device()

    answer = Answer(bench, [[1, 2]])
    bench.release()

    assert answer.get() == [[2, 4]]


def test_several_instances_compute_at_once(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=2, instances=2)
    bench.hold_device()
    bench.model.entered.clear()
    second = Answer(bench, [[1, 2]])

    assert bench.model.entered.wait(10)
    bench.release()

    assert second.get() == [[2, 4]]
    assert bench.first.get() == [[2, 2]]
    busy = bench.value("device_busy_seconds_total", "m", "1", "cpu")
    assert 0 < bench.value("device_active_seconds_total", "cpu") < busy


@given(calls=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12))
def test_device_time_counts_each_moment_once(calls: list[tuple[int, int]]) -> None:
    device_time = DeviceTime(NullRecorder(CATALOGUE), "cpu")
    events = sorted(
        [(begin, 0) for begin, _ in calls] + [(begin + length, 1) for begin, length in calls]
    )

    seconds = 0.0
    for at, is_end in events:
        if is_end:
            seconds += device_time.leave(at * 10**9)
        else:
            device_time.enter(at * 10**9)

    moments = {moment for begin, length in calls for moment in range(begin, begin + length)}
    assert len(moments) == seconds


def test_slices_computed_at_once_are_put_together_in_order(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=2, instances=3, limit_rows=1000)
    bench.start()
    rows = [[20.0 + n, 0.5] for n in range(101)]

    answers = [Answer(bench, rows) for _ in range(4)]

    assert [a.get() for a in answers] == [[[2 * a, 2 * b] for a, b in rows]] * 4


def test_what_may_not_be_batched_is_computed_alone(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=8)
    bench.hold_device()
    answers = [Answer(bench, [[n, n]] * 2, is_batchable=False) for n in range(3)]

    bench.release()

    assert [answer.get() for answer in answers] == [[[2 * n, 2 * n]] * 2 for n in range(3)]
    assert bench.model.calls == [1, 2, 2, 2]


def test_bad_members_are_not_looked_for_beyond_the_share(make_bench: MakeBench) -> None:
    bench = make_bench(max_rows=8, isolation_share=0.0)
    bench.hold_device()
    good, bad = Answer(bench, [[1, 2]]), Answer(bench, [[13, 2]])

    bench.release()

    for answer in (good, bad):
        with pytest.raises(ModelError):
            answer.get()
    assert bench.model.calls == [1, 2]


def test_a_version_that_goes_fails_what_waits_for_it(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.hold_device()
    waiting = Answer(bench, [[1, 2]])
    assert bench.queue.holds("1")

    bench.queue.fail_waiting(Draining("goes"), "1")
    bench.release()

    with pytest.raises(Draining):
        waiting.get()
    assert bench.first.get() == [[2, 2]]
