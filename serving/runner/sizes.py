"""Which batch sizes the device is given: any, or a few allowed ones that are reached by padding."""

from bisect import bisect_left

from serving.runner.durations import DurationEstimate


class BatchSizes:
    """Chooses how many rows to take and how many to compute.

    An empty `allowed` means every size is fine, as on a CPU, where padding would only cost time. On
    a GPU and under XLA each new size pays for kernel choice, allocation or compilation.
    """

    def __init__(self, allowed: tuple[int, ...], max_rows: int) -> None:
        """Take the allowed sizes, rising and ending with `max_rows`."""
        self.allowed = allowed
        self.max_rows = max_rows

    def choose(self, rows: int, durations: DurationEstimate) -> tuple[int, int]:
        """Return (rows to take, rows to compute) when `rows` are there, at most `max_rows`.

        Between two allowed sizes it rounds up if that computes rows faster than the smaller size
        does, and takes only the smaller number otherwise; up, until both are measured.
        """
        if not self.allowed:
            return rows, rows
        index = bisect_left(self.allowed, rows)
        up = self.allowed[index]
        if up == rows or index == 0:
            return rows, up
        down = self.allowed[index - 1]
        if durations.is_known(up) and durations.is_known(down):
            rate_up = rows / max(durations.seconds(up), 1e-9)
            rate_down = down / max(durations.seconds(down), 1e-9)
            if rate_up < rate_down:
                return down, down
        return rows, up

    def round_up(self, rows: int) -> int:
        """Return the size at which `rows` rows are computed when none may be left behind."""
        return self.allowed[bisect_left(self.allowed, rows)] if self.allowed else rows

    def warm_up(self) -> tuple[int, ...]:
        """Return the sizes that must be run before a version is ready."""
        return self.allowed or tuple(sorted({1, min(2, self.max_rows), self.max_rows}))
