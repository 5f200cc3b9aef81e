"""How long a device call takes by number of rows, learned from the calls themselves."""

WEIGHT = 0.2
# One hiccup must not look like a slow model.
OUTLIER_FACTOR = 4.0


class DurationEstimate:
    """A moving average per power-of-two batch size, linear in between.

    Written by one batch thread.
    """

    def __init__(self) -> None:
        """Know nothing yet: every estimate is 0."""
        self._averages: dict[int, float] = {}

    def learn(self, rows: int, seconds: float) -> None:
        """Take one call's duration into the average of its size class."""
        size = _size_class(rows)
        average = self._averages.get(size)
        if average is None:
            self._averages[size] = seconds
        else:
            sample = min(seconds, OUTLIER_FACTOR * average)
            self._averages[size] = average + WEIGHT * (sample - average)

    def is_known(self, rows: int) -> bool:
        """Return whether a call of this size class has been measured."""
        return _size_class(rows) in self._averages

    def seconds(self, rows: int) -> float:
        """Return the expected duration of a call with `rows` rows; 0 while nothing is known."""
        exact = self._averages.get(rows)
        if exact is not None:
            return exact
        averages = dict(self._averages)
        if not averages:
            return 0.0
        below = max((size for size in averages if size <= rows), default=None)
        above = min((size for size in averages if size >= rows), default=None)
        if below is None or above is None:
            return averages[above if below is None else below]  # type: ignore[index]
        share = (rows - below) / (above - below)
        return averages[below] + share * (averages[above] - averages[below])


class Durations:
    """The estimates of one model's signatures, by version and signature."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._estimates: dict[tuple[str, str], DurationEstimate] = {}

    def of(self, version: str, signature: str) -> DurationEstimate:
        """Return the estimate of one signature of one version."""
        key = (version, signature)
        estimate = self._estimates.get(key)
        if estimate is None:
            estimate = self._estimates[key] = DurationEstimate()
        return estimate

    def forget(self, version: str) -> None:
        """Drop the estimates of a version that is unloaded."""
        for key in [key for key in self._estimates if key[0] == version]:
            del self._estimates[key]


def _size_class(rows: int) -> int:
    """Return the power of two that `rows` rounds up to."""
    return 1 << max(0, rows - 1).bit_length()
