"""How GPUs are read."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """How often GPUs are read, and which; see the flags of the same names.

    `hang_restart_seconds` of 0 is never. `simulated` GPUs take the place of the real ones.
    """

    interval_seconds: float = 5.0
    min_age_seconds: float = 1.0
    slow_interval_seconds: float = 30.0
    timeout_seconds: float = 5.0
    hang_restart_seconds: float = 0.0
    simulated: int = 0
