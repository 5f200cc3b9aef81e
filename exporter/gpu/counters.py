"""Counters out of what drivers offer: samples to be integrated, registers that wrap and reset."""

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from exporter.gpu.driver import Accumulator, Sample

MICROSECONDS = 1e6
GAP_SECONDS = 1.0
GAP_PERIODS = 2
# When nothing has come for so long, the driver is asked for all that it has.
QUIET_SECONDS = 10.0
# Of so many steps the median is the usual one.
USUAL_STEPS, TELLING_STEPS = 101, 3
# A register that wrapped was near its end and is near its beginning.
WRAPPED_ABOVE, WRAPPED_BELOW = 0.75, 0.25
# One that reads lower by less than it could rise in so long was read while it was written.
JITTER_SECONDS = 0.01


class SampleClock:
    """Knows up to which time a driver's buffer has been seen; times in microseconds.

    Drivers go by the wall clock. Once that is set back, nothing is newer than what has been seen:
    after a while without news all is asked for, and what is older says that it is to begin anew.
    """

    def __init__(self) -> None:
        """Have seen nothing yet."""
        self.last_us = 0
        self._news_at = 0.0
        self._asks_for_all = False

    def since_us(self, now: float) -> int:
        """Return after which time to ask, 0 for everything, at `now` in monotonic seconds."""
        self._asks_for_all = now - self._news_at > QUIET_SECONDS
        if self._asks_for_all:
            self._news_at = now  # Asked once, and again only after as long.
        return 0 if self._asks_for_all else self.last_us

    def see(self, newest_us: int, now: float) -> int:
        """Take note of the newest time that was answered; return the one before.

        That is 0 if nothing can be said of the time between: at the first look, or after the clock
        was set back.
        """
        before = self.last_us
        if newest_us > before or (self._asks_for_all and 0 < newest_us < before):
            self.last_us, self._news_at = newest_us, now
        return before if newest_us >= before else 0


class BusyIntegral:
    """Integrates utilisation samples: each holds for the time since the one before.

    The first look is only where it begins: the driver's buffer reaches back beyond this process,
    and an exporter that ended may have counted what lies there. A distance far above the usual one
    is a gap, of which nothing is known: it is left out and counted.
    """

    def __init__(self) -> None:
        """Know no sample yet."""
        self.clock = SampleClock()
        # How much time what was added last tells of, without the gaps.
        self.covered_seconds = 0.0
        self._steps: deque[float] = deque(maxlen=USUAL_STEPS)

    def add(self, samples: Sequence[Sample], now: float) -> tuple[float, int]:
        """Take new samples, in any order; return the busy seconds and the number of gaps."""
        self.covered_seconds = 0.0
        if not samples:
            return 0.0, 0
        was_there = self.clock.last_us
        before = self.clock.see(max(sample.time_us for sample in samples), now)
        if self.clock.last_us < was_there:
            self._steps.clear()
            return 0.0, 1
        by_time = {sample.time_us: sample for sample in samples if sample.time_us > before}
        new = [by_time[time_us] for time_us in sorted(by_time)]
        times = [*([before] if before else []), *(sample.time_us for sample in new)]
        steps = [(after - earlier) / MICROSECONDS for earlier, after in pairwise(times)]
        # A gap is not to be measured by itself: few new steps are judged by those before.
        known = [*self._steps, *(steps if len(steps) >= TELLING_STEPS else ())]
        self._steps.extend(steps)
        if not before or not steps:
            return 0.0, 0
        longest = max(GAP_PERIODS * statistics.median(known or [0.0]), GAP_SECONDS)
        seconds, gaps = 0.0, 0
        for step, sample in zip(steps, new, strict=True):
            if step > longest:
                gaps += 1
            else:
                seconds += step * sample.percent / 100
                self.covered_seconds += step
        return seconds, gaps


@dataclass(slots=True)
class _Register:
    base: float = 0.0
    raw: int = 0
    at: float = 0.0


class Registers:
    """Shows registers as they are, made to rise over wraps.

    One that begins anew is shown to do so: that is what scrapers expect of a counter. A sum that
    went on would be counted twice by them when this process ends and another shows the register.
    """

    def __init__(self) -> None:
        """Know none yet."""
        self._registers: dict[tuple[str, str, str], _Register] = {}

    def total(self, uuid: str, read: Accumulator, now: float) -> float:
        """Return the counter's value, in the family's unit, at `now` in monotonic seconds."""
        key = (uuid, read.name, read.label)
        register = self._registers.get(key)
        if register is None:
            register = self._registers[key] = _Register(0.0, read.raw, now)
        elif read.raw < register.raw:
            if self._wrapped(register, read, now):
                register.base += 2.0**read.bits
            elif (register.raw - read.raw) * read.unit < JITTER_SECONDS * read.most_per_second and (
                read.raw > WRAPPED_ABOVE * register.raw
            ):
                # No driver's register begins anew so near to where it was.
                return (register.base + register.raw) * read.unit
            else:
                register.base = 0.0
        register.raw, register.at = read.raw, now
        return (register.base + read.raw) * read.unit

    @staticmethod
    def _wrapped(register: _Register, read: Accumulator, now: float) -> bool:
        size = 2.0**read.bits
        if register.raw <= WRAPPED_ABOVE * size or read.raw >= WRAPPED_BELOW * size:
            return False
        rise = (read.raw + size - register.raw) * read.unit
        return rise <= read.most_per_second * max(now - register.at, 1e-3)
