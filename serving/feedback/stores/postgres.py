"""Claims in a PostgreSQL database that several servers share: one transaction a chunk."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from serving.feedback.stores.base import Claim, ClaimStoreError, Key

TIMEOUT_SECONDS = 2
# A little more than the server has for a statement.
ANSWER_SECONDS = 2.5
# How many claims that have expired are deleted for each that is made, and at least.
DELETED_FOR_EACH, LEAST_DELETED = 2, 16
T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS inferometer_claim (
    id bytea NOT NULL, "row" integer NOT NULL, source smallint NOT NULL,
    label bytea NOT NULL, expires bigint NOT NULL,
    PRIMARY KEY (id, "row", source)
);
CREATE INDEX IF NOT EXISTS inferometer_claim_expires ON inferometer_claim (expires);
"""
LOCK = "SELECT pg_advisory_xact_lock(hashtext('inferometer_claim'))"
# Sorted, so that two chunks with the same rows do not wait for each other.
INSERT = """
INSERT INTO inferometer_claim
SELECT * FROM unnest(%s::bytea[], %s::integer[], %s::smallint[], %s::bytea[], %s::bigint[])
    AS new (id, "row", source, label, expires)
ORDER BY id, "row", source
ON CONFLICT DO NOTHING
RETURNING id, "row", source
"""
SELECT = """
SELECT id, "row", source, label FROM inferometer_claim
JOIN unnest(%s::bytea[], %s::integer[], %s::smallint[]) AS wanted (id, "row", source)
USING (id, "row", source)
"""
UPDATE = """
UPDATE inferometer_claim SET label = %s
WHERE id = %s AND "row" = %s AND source = %s AND label = %s
"""
DELETE = """
DELETE FROM inferometer_claim WHERE (id, "row", source) IN (
    SELECT id, "row", source FROM inferometer_claim WHERE expires < %s ORDER BY expires LIMIT %s
    FOR UPDATE SKIP LOCKED
)
"""


class _Timed(psycopg.Connection[Any]):
    """A connection that gives a server up which does not answer.

    `statement_timeout` is the server's own to keep, and it may hang.
    """

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Return what a generator of psycopg's returns; at once an error when it takes too long."""
        return super().wait(gen, interval, ANSWER_SECONDS if timeout is None else timeout)


class PostgresStore:
    """Remembers claims until they expire.

    One connection, opened at the first use and so after any fork, behind a lock.
    """

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self._url = url
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None

    def claim(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Claim all in one transaction; return for each the label that was there."""
        first: dict[Key, Claim] = {}
        for one in claims:
            first.setdefault(one.key, one)
        with self._transaction() as connection:
            new = {Key(*row) for row in connection.execute(INSERT, _columns(first.values()))}
            held = self._labels(connection, [key for key in first if key not in new])
            most = DELETED_FOR_EACH * len(claims) + LEAST_DELETED
            connection.execute(DELETE, (int(time.time()), most))
        found = []
        for one in claims:
            found.append(None if one.key in new else held[one.key])
            if one.key in new:
                # Whoever comes second in this chunk finds the first.
                new.discard(one.key)
                held[one.key] = one.label
        return found

    def look_up(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return the label of each key, None where there is none."""
        with self._transaction() as connection:
            held = self._select(connection, keys)
        return [held.get(key) for key in keys]

    def correct(self, key: Key, *, old: bytes, new: bytes) -> bool:
        """Replace a label if it is still the old one."""
        with self._transaction() as connection:
            return connection.execute(UPDATE, (new, *key, old)).rowcount == 1

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _labels(self, connection: psycopg.Connection, keys: list[Key]) -> dict[Key, bytes]:
        """Return the labels of keys that are claimed. Raises ClaimStoreError if one has gone."""
        held = self._select(connection, keys) if keys else {}
        if len(held) < len(keys):
            raise ClaimStoreError("PostgreSQL: a claim expired in the moment it was looked at")
        return held

    def _select(self, connection: psycopg.Connection, keys: Sequence[Key]) -> dict[Key, bytes]:
        columns = [[key[place] for key in keys] for place in range(3)]
        rows = connection.execute(SELECT, columns).fetchall()
        return {Key(*row[:3]): bytes(row[3]) for row in rows}

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection]:
        with self._lock, contextlib.ExitStack() as undo:
            # Whatever goes wrong: the next chunk begins with a new connection.
            undo.callback(self._drop)
            try:
                connection = self._open()
                with connection.transaction():
                    yield connection
            except psycopg.Error as error:
                text = str(error).strip().splitlines()
                raise ClaimStoreError(f"PostgreSQL: {text[0] if text else error!r}") from error
            undo.pop_all()

    def _open(self) -> psycopg.Connection:
        if self._connection is None:
            connection = _Timed.connect(
                self._url,
                connect_timeout=TIMEOUT_SECONDS,
                options=f"-c statement_timeout={TIMEOUT_SECONDS}s",
                autocommit=True,
                application_name="inferometer",
            )
            self._connection = connection
            if connection.execute("SELECT to_regclass('inferometer_claim')").fetchone() == (None,):
                # Two servers that start at once would both make the table.
                with connection.transaction():
                    connection.execute(LOCK)
                    connection.execute(SCHEMA)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def _columns(claims: object) -> list[list[object]]:
    rows = [(*one.key, one.label, one.expires) for one in claims]  # type: ignore[attr-defined]
    return [list(column) for column in zip(*rows, strict=True)]
