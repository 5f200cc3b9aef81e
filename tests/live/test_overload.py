"""Overload: at three times what the model can do, what is accepted is answered in time."""

import json
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.live.servers import Server, start_server

pytestmark = pytest.mark.alone

SECONDS = 60.0
DEADLINE_SECONDS = 0.5
ROW_SECONDS = 0.02
BODY = json.dumps({"instances": [ROW_SECONDS]})
CLIENTS = 48
# The load generator, the front-ends and the model share two cores, and a scheduler's slice is long.
SLACK_SECONDS = 0.1


class Answer(NamedTuple):
    status: int
    seconds: float
    reason: str
    retry_after: float


@dataclass
class Load:
    """Clients that each begin a request at fixed times, whether or not others were answered."""

    server: Server
    rate: float
    seconds: float

    def run(self) -> list[Answer]:
        answers: list[Answer] = []
        begun = time.monotonic()
        threads = [
            threading.Thread(target=self._ask, args=(number, begun, answers))
            for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def _ask(self, number: int, begun: float, answers: list[Answer]) -> None:
        parts = urlsplit(self.server.url)
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        headers = {"X-Request-Timeout-Ms": str(int(1000 * DEADLINE_SECONDS))}
        pause = threading.Event()
        interval = CLIENTS / self.rate
        due = begun + interval * number / CLIENTS
        while due < begun + self.seconds:
            pause.wait(max(0.0, due - time.monotonic()))
            asked = time.monotonic()
            connection.request("POST", "/v1/models/nap:predict", BODY, headers)
            response = connection.getresponse()
            document = json.loads(response.read())
            seconds = time.monotonic() - asked
            answers.append(
                Answer(
                    response.status,
                    seconds,
                    document.get("reason", ""),
                    document.get("retry_after_seconds", 0.0),
                )
            )
            # One that came late is not made up for, or clients would come in bursts.
            due = max(due + interval, time.monotonic() - interval)
        connection.close()


def resident_bytes(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return 4096 * int(pages)


@pytest.mark.slow
def test_three_times_the_capacity_is_served_in_time_or_refused_at_once(
    models: Path, tmp_path: Path
) -> None:
    # One row a call, so that capacity is what the naps allow.
    arguments = ("--max-batch-rows=1", "--workers=1")
    with start_server({"nap": models / "nap"}, tmp_path, *arguments) as server:
        Load(server, 100.0, 3.0).run()  # What the model takes is learned from its calls.
        closed = Load(server, 1 / ROW_SECONDS, 10.0).run()
        capacity = sum(answer.status == 200 for answer in closed) / 10.0
        pids = [*server.pids("frontend"), *server.pids("runner")]
        before = [resident_bytes(pid) for pid in pids]

        answers = Load(server, 3 * capacity, SECONDS).run()

        after = [resident_bytes(pid) for pid in pids]
        accepted = [answer for answer in answers if answer.status == 200]
        refused = [answer for answer in answers if answer.status == 503]
        reasons = Counter(answer.reason for answer in refused)
        goodput = len(accepted) / SECONDS
        print(f"{capacity=:.1f}/s {goodput=:.1f}/s {reasons} {len(answers)} answers")  # noqa: T201
        assert goodput >= 0.9 * capacity
        assert {"queue_full", "predicted_late"} >= reasons.keys()
        assert len(accepted) + len(refused) >= 0.99 * len(answers)
        in_time = statistics.quantiles([answer.seconds for answer in accepted], n=100)
        assert in_time[98] <= DEADLINE_SECONDS + SLACK_SECONDS
        at_once = statistics.quantiles([answer.seconds for answer in refused], n=100)
        assert at_once[49] <= 0.05
        assert all(0 <= answer.retry_after <= DEADLINE_SECONDS for answer in refused)
        assert all(b - a < 32 << 20 for a, b in zip(before, after, strict=True))
