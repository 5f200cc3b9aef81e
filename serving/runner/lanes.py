"""The waiting jobs of one key: a first-in-first-out list for each priority.

It knows nothing of locks, limits or time: the queue does.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from serving.runner.job import HIGH, PRIORITIES, BatchKey, Job


class Rank(NamedTuple):
    """Who is before whom: the class after ageing, then the time of joining the queue."""

    priority: int
    queued_ns: int


class Lanes:
    """Jobs whose rows may share a device call, in the order in which they leave."""

    def __init__(self, key: BatchKey, aging_ns: int) -> None:
        """Start empty; a job moves up one class for every `aging_ns` it has waited."""
        self.key = key
        self.rows = dict.fromkeys(PRIORITIES, 0)
        self._aging_ns = aging_ns
        self._lists: dict[int, deque[Job]] = {priority: deque() for priority in PRIORITIES}
        self._has_rotated = False

    def __bool__(self) -> bool:
        return any(self._lists.values())

    def __len__(self) -> int:
        return sum(map(len, self._lists.values()))

    def __iter__(self) -> Iterator[Job]:
        for waiting in self._lists.values():
            yield from waiting

    def append(self, job: Job) -> None:
        """Take a job's rows that are left at the tail of its list."""
        self._lists[job.priority].append(job)
        self.rows[job.priority] += job.rows - job.next_row

    def remove(self, job: Job) -> None:
        """Forget a job."""
        self._lists[job.priority].remove(job)
        self.rows[job.priority] -= job.rows - job.next_row

    def head_rank(self, now: int) -> Rank:
        """Return the rank of the job that leaves next; there must be one."""
        return min(self._rank(waiting[0], now) for waiting in self._lists.values() if waiting)

    def in_order(self, now: int) -> Iterator[Job]:
        """Yield the jobs in the order in which they leave."""
        lists = [waiting for waiting in self._lists.values() if waiting]
        if len(lists) == 1:
            yield from lists[0]
            return
        heads = [iter(waiting) for waiting in lists]
        ranked = [(self._rank(job, now), job, head) for head in heads for job in (next(head),)]
        while ranked:
            first = min(range(len(ranked)), key=lambda index: ranked[index][0])
            _, job, head = ranked[first]
            yield job
            following = next(head, None)
            if following is None:
                del ranked[first]
            else:
                ranked[first] = (self._rank(following, now), following, head)

    def take(self, job: Job, rows: int, *, rest_to_tail: bool, now: int) -> None:
        """Take rows off a job that heads its list; what is left of it stays there or goes last."""
        waiting = self._lists[job.priority]
        assert waiting[0] is job
        job.next_row += rows
        self.rows[job.priority] -= rows
        if job.next_row == job.rows:
            waiting.popleft()
        elif rest_to_tail:
            job.queued_ns = now
            waiting.rotate(-1)
            self._has_rotated = True

    def oldest_ns(self) -> int:
        """Return when the job that has waited longest arrived; there must be one."""
        if self._has_rotated:
            return min(job.arrived_ns for job in self)
        return min(waiting[0].arrived_ns for waiting in self._lists.values() if waiting)

    def _rank(self, job: Job, now: int) -> Rank:
        steps = (now - job.arrived_ns) // self._aging_ns
        return Rank(max(HIGH, job.priority - steps), job.queued_ns)
