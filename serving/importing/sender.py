"""Sends labels in batches to a server's `/v1/feedback/batch`, as fast as it was asked to."""

import http.client
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from serving.errors import DataError

# As many as a reply names errors of, so that none is kept back.
BATCH_ITEMS = 100
TIMEOUT_SECONDS = 60.0
# Between two attempts where the server does not say.
WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 30.0
PATH = "/v1/feedback/batch"
TOO_LARGE = 413
# No answer, or one of a proxy whose server is away.
AWAY = frozenset({0, 502, 503, 504})

Item = dict[str, Any]


class Rejected(NamedTuple):
    """A label that was refused: its row in the file, from 0, the result, and why."""

    row: int
    result: str
    error: str


class Sender:
    """Talks to one server; what it cannot take now is sent again until patience ends."""

    def __init__(
        self,
        url: str,
        *,
        auth_token: str | None,
        rate: float,
        patience_seconds: float,
        progress: Callable[[Counter[str]], None],
    ) -> None:
        """Send at most `rate` labels a second. Raises DataError for a URL that is none."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise DataError(f"{url[:64]}: a URL such as http://127.0.0.1:8501 is expected")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname, port, timeout=TIMEOUT_SECONDS)
        self._path = parts.path.rstrip("/") + PATH
        self._headers = {"Content-Type": "application/x-ndjson"}
        if auth_token is not None:
            self._headers["Authorization"] = f"Bearer {auth_token}"
        self._rate = rate
        self._patience_seconds = patience_seconds
        self._progress = progress
        self.counts: Counter[str] = Counter()

    def send(self, items: Iterable[Item]) -> Iterator[Rejected]:
        """Send all; yield what was refused. Raises DataError when it cannot go on."""
        begun = time.monotonic()
        sent = 0
        for chunk in _chunks(items):
            document = self._post(chunk)
            for name in ("counted", "duplicate", "corrected"):
                self.counts[name] += document[name]
            for error in document["errors"]:
                self.counts[error["result"]] += 1
                yield Rejected(sent + error["index"], error["result"], error["error"])
            sent += len(chunk)
            self._progress(self.counts)
            time.sleep(max(0.0, begun + sent / self._rate - time.monotonic()))

    def is_taken(self, item: Item) -> bool | None:
        """Return whether a label would be taken in this form; nothing is counted.

        None where it cannot be told, since its token is of no use.
        """
        document = self._post([item], query="?dry_run=true")
        results = [error["result"] for error in document["errors"]]
        if not results or results == ["conflict"]:
            return True
        return False if results == ["bad_label"] else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, chunk: Sequence[Item], query: str = "") -> dict[str, Any]:
        """Send a batch until it is taken. Sending it again is safe: what counted is a duplicate."""
        body = b"\n".join(map(orjson.dumps, chunk))
        give_up_at = time.monotonic() + self._patience_seconds
        wait = WAIT_SECONDS
        while True:
            try:
                status, reply, retry_after = self._ask(body, query)
            except (OSError, http.client.HTTPException) as error:
                status, reply, retry_after = 0, str(error).encode(), None
            if status in {200, 422}:
                document: dict[str, Any] = orjson.loads(reply)
                return document
            if status == TOO_LARGE and len(chunk) > 1:
                half = len(chunk) // 2
                return _joined(self._post(chunk[:half]), self._post(chunk[half:]), half)
            if status not in AWAY:
                raise DataError(f"the server answered {status}: {_error_of(reply)}")
            wait = retry_after or min(2 * wait, LONGEST_WAIT_SECONDS)
            if time.monotonic() + wait > give_up_at:
                problem = f"answered {status}" if status else "cannot be reached"
                raise DataError(f"the server {problem}: {_error_of(reply)}")
            time.sleep(wait)

    def _ask(self, body: bytes, query: str) -> tuple[int, bytes, float | None]:
        try:
            self._connection.request("POST", self._path + query, body, self._headers)
            response = self._connection.getresponse()
            reply = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        seconds = response.headers.get("Retry-After", "")
        return response.status, reply, float(seconds) if seconds.isdecimal() else None


def plain(value: object) -> object:
    """Return a value of a file as JSON has it: times as texts. Raises DataError for what has none.

    A time without a zone is taken for one of the zone that this computer is in.
    """
    if isinstance(value, datetime):
        return value.astimezone().isoformat()
    if isinstance(value, date):
        return datetime.combine(value, time_of_day.min).astimezone().isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    try:
        orjson.dumps(value)
    except TypeError:
        raise DataError(f"{value!r:.64} has no form in JSON") from None
    return value


def _joined(first: dict[str, Any], second: dict[str, Any], size: int) -> dict[str, Any]:
    """Return the reply that both halves of a batch would have had together."""
    later = [error | {"index": error["index"] + size} for error in second["errors"]]
    counts = {
        name: first[name] + second[name]
        for name in ("counted", "duplicate", "corrected", "rejected")
    }
    return {**counts, "errors": first["errors"] + later}


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, BATCH_ITEMS)):
        yield chunk


def _error_of(reply: bytes) -> str:
    try:
        document = orjson.loads(reply)
    except orjson.JSONDecodeError:
        return reply[:200].decode("utf-8", "replace")
    return str(document.get("error", ""))[:200] if isinstance(document, dict) else ""
