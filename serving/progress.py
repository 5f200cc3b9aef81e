"""How far one prediction request has come: its names, stamps and sizes."""

import time
from dataclasses import dataclass

from exporter import UNKNOWN
from serving.prediction import BatchFacts
from serving.request_metrics import PHASES
from serving.slow_log import SlowRequest

NANOSECONDS = 1e9


@dataclass(slots=True)
class Progress:
    """What is known so far of one request; failures are recorded with whatever that is."""

    request_id: str
    received: int
    trace_id: bytes | None
    model: str = UNKNOWN
    version: str = UNKNOWN
    prediction_id: str = ""
    feedback_token: str | None = None
    parsed: int = 0
    runner_stamps: tuple[int, int, int] = (0, 0, 0)
    delivered: int = 0
    rows: int = 0
    body_bytes: int = 0
    body_is_read: bool = False
    batch: BatchFacts | None = None

    def seconds(self, ended: int) -> tuple[float, ...]:
        """Return the whole duration and its six phases.

        They are the differences of seven stamps; one that was not reached gets the time of the end.
        """
        taken, assembled, computed = self.runner_stamps
        parsed = self.parsed or ended
        taken = taken or ended
        assembled = assembled or ended
        computed = computed or ended
        delivered = self.delivered or ended
        return (
            (ended - self.received) / NANOSECONDS,
            (parsed - self.received) / NANOSECONDS,
            (taken - parsed) / NANOSECONDS,
            (assembled - taken) / NANOSECONDS,
            (computed - assembled) / NANOSECONDS,
            (delivered - computed) / NANOSECONDS,
            (ended - delivered) / NANOSECONDS,
        )

    def slow_request(
        self, protocol: str, code: str, reason: str, seconds: tuple[float, ...]
    ) -> SlowRequest:
        """Return what `/debug/slow` shows of the request once it is answered."""
        total, *phases = seconds
        batch = self.batch
        return SlowRequest(
            request_id=self.request_id,
            prediction_id=self.prediction_id or None,
            trace_id=self.trace_id.hex() if self.trace_id else None,
            model=self.model,
            version=self.version,
            protocol=protocol,
            code=int(code),
            reason=reason or None,
            rows=self.rows,
            started_at=time.time() - total,
            duration_seconds=total,
            phases=dict(zip(PHASES, phases, strict=True)),
            batch=None
            if batch is None
            else {
                "id": batch.batch_id,
                "rows": batch.rows,
                "padding_rows": batch.padding_rows,
                "trigger": batch.trigger,
            },
        )
