"""Claims in a SQLite file, shared by the processes of one host. Local file systems only."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from serving.feedback.stores.base import Claim, ClaimStoreError, Key

MOST_CLAIMS = 200_000
# Of how many processes each may think that the room is its own.
PROCESSES = 8
BUSY_SECONDS = 0.25
# How many claims that have expired are deleted for each that is made, and at least.
DELETED_FOR_EACH, LEAST_DELETED = 2, 16
SCHEMA = """
CREATE TABLE IF NOT EXISTS claim (
    id BLOB NOT NULL, row INTEGER NOT NULL, source INTEGER NOT NULL,
    label BLOB NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (id, row, source)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claim_expires ON claim (expires);
"""


class SqliteStore:
    """Remembers claims until they expire; when it is full it takes no new ones.

    One connection, opened at the first use and so after any fork, behind a lock.
    """

    def __init__(self, path: Path, most_claims: int = MOST_CLAIMS) -> None:
        """Open nothing yet; 0 is no limit."""
        self._path = path
        self._most_claims = most_claims
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        # Which file the connection is to, and how many claims it is thought to hold.
        self._file: tuple[int, int] | None = None
        self._room = 0

    def claim(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Claim all in one transaction; return for each the label that was there."""
        with self._transaction() as connection:
            _delete_expired(connection, DELETED_FOR_EACH * len(claims) + LEAST_DELETED)
            found = [_claim(connection, each) for each in claims]
            self._require_room(connection, found.count(None))
            return found

    def look_up(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return the label of each key, None where there is none."""
        with self._transaction() as connection:
            return [_label(connection, key) for key in keys]

    def correct(self, key: Key, *, old: bytes, new: bytes) -> bool:
        """Replace a label if it is still the old one."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE claim SET label = ? WHERE id = ? AND row = ? AND source = ? AND label = ?",
                (new, *key, old),
            )
            return changed.rowcount == 1

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, contextlib.ExitStack() as undo:
            # Whatever goes wrong: the next chunk begins with a new connection, which rolls back.
            undo.callback(self._drop)
            try:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise ClaimStoreError(f"{self._path.name}: {error}") from error
            undo.pop_all()

    def _require_room(self, connection: sqlite3.Connection, claims: int) -> None:
        """Raise ClaimStoreError, which undoes them, when there are too many with these new ones.

        Counting is slow, so it is done when what was free then may be used up, by whomever.
        """
        if not self._most_claims or not claims:
            return
        self._room -= claims * PROCESSES
        if self._room < 0:
            (present,) = connection.execute("SELECT count(*) FROM claim").fetchone()
            self._room = self._most_claims - present
        if self._room < 0:
            raise ClaimStoreError(
                f"{self._path.name} holds its {self._most_claims:,} labels; a file of its own"
                " (feedback_store_path) has no such limit"
            )

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and _identity(self._path) != self._file:
            self._drop()  # Somebody has taken the file away: another one is there, or none.
        if self._connection is None:
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection = connection
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(SCHEMA)
            self._file = _identity(self._path)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _identity(path: Path) -> tuple[int, int] | None:
    """Return which file lies at a path; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _delete_expired(connection: sqlite3.Connection, most: int) -> None:
    connection.execute(
        "DELETE FROM claim WHERE (id, row, source) IN"
        " (SELECT id, row, source FROM claim WHERE expires < ? ORDER BY expires LIMIT ?)",
        (int(time.time()), most),
    )


def _claim(connection: sqlite3.Connection, claim: Claim) -> bytes | None:
    made = connection.execute(
        "INSERT OR IGNORE INTO claim VALUES (?, ?, ?, ?, ?)",
        (*claim.key, claim.label, claim.expires),
    )
    if made.rowcount == 1:
        return None
    return _label(connection, claim.key)


def _label(connection: sqlite3.Connection, key: Key) -> bytes | None:
    found = connection.execute(
        "SELECT label FROM claim WHERE id = ? AND row = ? AND source = ?", key
    ).fetchone()
    return None if found is None else bytes(found[0])
