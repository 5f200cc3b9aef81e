"""Integrated samples equal their integral, registers never fall, whatever drivers do."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.gpu.counters import BusyIntegral, Registers
from exporter.gpu.driver import Accumulator, Sample

START_US = 1_700_000_000_000_000
PERIOD_US = 100_000


def stream(percents: list[float], *, start_us: int = START_US) -> list[Sample]:
    return [Sample(start_us + PERIOD_US * n, percent) for n, percent in enumerate(percents)]


@given(
    percents=st.lists(st.integers(0, 100), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    seed=st.integers(0, 1000),
)
def test_integral_is_exact_however_the_stream_is_cut(
    percents: list[float], cuts: list[int], seed: int
):
    samples = stream(percents)
    integral = BusyIntegral()
    edges = sorted({0, *(cut for cut in cuts if cut < len(samples)), len(samples)})
    seconds = 0.0
    for begin, end in itertools.pairwise(edges):
        # Each time the driver gives some again, in any order.
        batch = samples[max(0, begin - 3) : end]
        random.Random(seed).shuffle(batch)
        found, gaps = integral.add(batch, 0.0)
        seconds += found
        assert gaps == 0

    # What the first look finds is only where it begins.
    first = edges[1] if len(edges) > 1 else len(samples)
    assert seconds == pytest.approx(sum(percents[first:]) / 100 * PERIOD_US / 1e6)


def test_gap_is_left_out_and_counted():
    integral = BusyIntegral()
    integral.add(stream([50] * 20), 0.0)

    seconds, gaps = integral.add(stream([100, 100], start_us=START_US + 60_000_000), 0.0)

    assert (seconds, gaps) == (pytest.approx(0.1), 1)


def test_time_that_is_covered_has_no_gaps():
    integral = BusyIntegral()
    integral.add(stream([50] * 20), 0.0)
    integral.add(stream([0, 100, 100], start_us=START_US + 60_000_000), 1.0)

    assert integral.covered_seconds == pytest.approx(0.2)
    integral.add([], 2.0)
    assert integral.covered_seconds == 0


def test_slow_driver_has_no_gaps():
    integral = BusyIntegral()
    samples = [Sample(START_US + 1_500_000 * n, 100) for n in range(10)]
    integral.add(samples[:1], 0.0)

    assert (pytest.approx(13.5), 0) == integral.add(samples, 0.0)


def test_slow_driver_that_is_read_often_has_one_gap_until_its_pace_is_known():
    integral = BusyIntegral()
    found = [integral.add([Sample(START_US + 1_500_000 * n, 100)], 1.5 * n) for n in range(10)]

    assert [gaps for _, gaps in found] == [0, 1, *8 * [0]]


def test_gap_is_not_measured_by_itself():
    integral = BusyIntegral()
    integral.add([Sample(START_US, 50)], 0.0)

    assert (0.0, 1) == integral.add([Sample(START_US + 3_600_000_000, 50)], 1.0)


def test_what_lies_in_the_buffer_at_first_is_not_counted():
    integral = BusyIntegral()

    assert (0.0, 0) == integral.add(stream([100] * 50), 0.0)
    assert (pytest.approx(0.1), 0) == integral.add(stream([100] * 51), 0.0)


def test_clock_set_back_counts_nothing_twice():
    integral = BusyIntegral()
    integral.add(stream([50] * 10), 0.0)

    assert (0.0, 0) == integral.add(stream([50] * 10, start_us=START_US - 5_000_000), 0.0)


def test_clock_set_back_is_noticed_by_asking_for_all():
    integral = BusyIntegral()
    integral.add(stream([50] * 10), 0.0)
    back = START_US - 5_000_000

    # Nothing has come for a while: all is asked for, once, and it begins anew.
    assert integral.clock.since_us(9.0) == START_US + 9 * PERIOD_US
    assert integral.clock.since_us(10.5) == 0
    assert (0.0, 1) == integral.add(stream([50] * 10, start_us=back), 10.5)
    assert integral.clock.since_us(10.6) == back + 9 * PERIOD_US
    assert (pytest.approx(0.05), 0) == integral.add(stream([50] * 11, start_us=back), 10.7)


def test_quiet_driver_is_asked_for_all_now_and_then_and_counts_nothing_twice():
    integral = BusyIntegral()
    integral.add(stream([100] * 10), 0.0)

    assert [integral.clock.since_us(now) == 0 for now in (10.5, 11.0, 20.0, 21.0)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert (0.0, 0) == integral.add(stream([100] * 10), 21.0)


def read(raw: int, *, bits: int = 32, most: float = 3000.0, unit: float = 0.001) -> Accumulator:
    return Accumulator("energy_joules_total", "", raw, unit, bits, most)


@given(raws=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=30))
def test_register_falls_only_to_what_it_is(raws: list[int]):
    registers = Registers()
    last = 0.0
    for second, raw in enumerate(raws):
        total = registers.total("g", read(raw), float(second))
        # To a scraper a fall is a register that began anew at 0.
        assert total >= last or total == pytest.approx(raw / 1000)
        last = total


def test_register_that_reads_a_little_lower_stays():
    registers = Registers()
    registers.total("g", read(100_000), 0.0)

    assert pytest.approx(100.0) == registers.total("g", read(99_999), 1.0)
    assert pytest.approx(100.001) == registers.total("g", read(100_001), 2.0)


def test_register_that_wraps_goes_on():
    registers = Registers()
    registers.total("g", read(2**32 - 1000), 0.0)

    assert (2**32 + 500) / 1000 == pytest.approx(registers.total("g", read(500), 1.0))


@pytest.mark.parametrize(
    ("before", "after", "seconds"),
    [
        pytest.param(2**32 - 1000, 500, 1e-6, id="faster than possible"),
        pytest.param(2**31, 500, 3600.0, id="not near the end"),
        pytest.param(2**32 - 1000, 2**31, 3600.0, id="not near the beginning"),
    ],
)
def test_what_cannot_have_wrapped_began_anew(before: int, after: int, seconds: float):
    registers = Registers()
    registers.total("g", read(before, most=1.0), 0.0)

    found = registers.total("g", read(after, most=1.0), seconds)

    assert found == pytest.approx(after / 1000)


def test_registers_of_two_gpus_are_two():
    registers = Registers()
    registers.total("one", read(100), 0.0)

    assert pytest.approx(0.05) == registers.total("two", read(50), 0.0)
