"""How GPUs are read."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """How often GPUs are read; see the flags of the same names."""

    interval_seconds: float = 5.0
    min_age_seconds: float = 1.0
    slow_interval_seconds: float = 30.0
    timeout_seconds: float = 5.0
