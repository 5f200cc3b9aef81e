"""Stores of claims: each label is claimed once, whoever asks at once, and whatever dies."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis

from serving.feedback.stores.base import Claim, ClaimStore, ClaimStoreError, Key
from serving.feedback.stores.memory import MemoryStore
from serving.feedback.stores.postgres import PostgresStore
from serving.feedback.stores.redis_store import RedisStore
from serving.feedback.stores.sqlite import SqliteStore
from tests.databases import HAS_REDIS, POSTGRES, free_port, postgres_server, redis_server

LATER = int(time.time()) + 1000


def claim(number: int, label: bytes = b"a", *, source: int = 0, expires: int = LATER) -> Claim:
    return Claim(Key(number.to_bytes(16), 0, source), label, expires)


needs_redis = pytest.mark.skipif(not HAS_REDIS, reason="redis-server is not installed")
needs_postgres = pytest.mark.skipif(POSTGRES is None, reason="postgresql is not installed")
STORES = [
    "memory",
    "sqlite",
    pytest.param("redis", marks=needs_redis),
    pytest.param("postgres", marks=needs_postgres),
]


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Start a database when it is first asked for; all tests of this file share it."""
    with ExitStack() as stack:
        started: dict[str, str] = {}

        def url(name: str) -> str:
            if name not in started:
                folder = tmp_path_factory.mktemp(name)
                server = redis_server(folder) if name == "redis" else postgres_server(folder)
                started[name] = stack.enter_context(server)
            return started[name]

        yield url


@pytest.fixture(params=STORES)
def store(
    request: pytest.FixtureRequest, tmp_path: Path, urls: Callable[[str], str]
) -> Iterator[ClaimStore]:
    opened: ClaimStore
    if request.param == "memory":
        opened = MemoryStore()
    elif request.param == "sqlite":
        opened = SqliteStore(tmp_path / "claims.db")
    elif request.param == "redis":
        opened = RedisStore(urls("redis"))
        Redis.from_url(urls("redis")).flushdb()
    else:
        opened = PostgresStore(urls("postgres"))
        opened.look_up([claim(1).key])
        with psycopg.connect(urls("postgres"), autocommit=True) as connection:
            connection.execute("TRUNCATE inferometer_claim")
    yield opened
    opened.close()


def test_looking_up_claims_nothing(store: ClaimStore):
    assert [None, None] == store.look_up([claim(1).key, claim(2).key])
    assert [None] == store.claim([claim(1, b"x")])
    assert [b"x", None, None] == store.look_up([claim(1).key, claim(2).key, claim(1, source=1).key])
    assert [] == store.look_up([])


def test_labels_may_be_any_bytes(store: ClaimStore):
    label = bytes(range(256))
    assert [None] == store.claim([claim(7, label)])
    assert [label] == store.claim([claim(7, b"")])
    assert store.correct(claim(7).key, old=label, new=b"\x00")
    assert [b"\x00"] == store.look_up([claim(7).key])


DATABASES = [
    pytest.param(redis_server, RedisStore, marks=needs_redis, id="redis"),
    pytest.param(postgres_server, PostgresStore, marks=needs_postgres, id="postgres"),
]


@pytest.mark.parametrize(("server", "kind"), DATABASES)
def test_database_that_is_stopped_claims_nothing_and_is_well_afterwards(
    tmp_path: Path, server: Any, kind: Any
):
    port = free_port()
    with server(tmp_path, port=port) as url:
        store = kind(url)
        assert [None, None] == store.claim([claim(1), claim(2)])
    with pytest.raises(ClaimStoreError):
        store.claim([claim(2), claim(3)])
    with pytest.raises(ClaimStoreError):
        store.look_up([claim(1).key])
    with pytest.raises(ClaimStoreError):
        store.correct(claim(1).key, old=b"a", new=b"b")
    with server(tmp_path, port=port):
        assert [b"a", None] == store.claim([claim(2), claim(3)])
    store.close()


@needs_postgres
def test_database_that_does_not_answer_is_given_up(urls: Callable[[str], str]):
    store = PostgresStore(urls("postgres"))
    store.claim([claim(700)])
    with psycopg.connect(urls("postgres"), autocommit=True) as other:
        rows = other.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name='inferometer'"
        )
        pids = [pid for (pid,) in rows.fetchall()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    try:
        with pytest.raises(ClaimStoreError):
            store.claim([claim(701)])
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    assert time.monotonic() - begun < 10
    assert [b"a"] == store.look_up([claim(700).key])
    store.close()


@needs_postgres
def test_table_that_is_there_needs_no_right_to_make_one(urls: Callable[[str], str]):
    first = PostgresStore(urls("postgres"))
    first.look_up([])
    first.close()
    with psycopg.connect(urls("postgres"), autocommit=True) as owner:
        owner.execute("CREATE ROLE poor LOGIN")
        owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON inferometer_claim TO poor")
    store = PostgresStore(urls("postgres").replace("tester", "poor"))

    assert [None] == store.claim([claim(710)])
    assert [b"a"] == store.look_up([claim(710).key])
    store.close()
    with psycopg.connect(urls("postgres"), autocommit=True) as owner:
        owner.execute("DROP OWNED BY poor")
        owner.execute("DROP ROLE poor")


@needs_redis
def test_redis_that_may_not_be_asked_for_its_policy_will_do(urls: Callable[[str], str]):
    admin = Redis.from_url(urls("redis"))
    admin.acl_setuser(
        "poor", enabled=True, passwords=["+secret"], keys=["inferometer:*"],
        categories=["+@read", "+@write", "+@transaction", "+@scripting"], reset=True,
    )  # fmt: skip
    store = RedisStore(urls("redis").replace("redis://", "redis://poor:secret@"))

    assert [None] == store.claim([claim(720)])
    assert store.correct(claim(720).key, old=b"a", new=b"b")
    store.close()


@needs_postgres
def test_expired_claims_leave_the_table(urls: Callable[[str], str]):
    past = int(time.time()) - 10
    first = PostgresStore(urls("postgres"))
    first.claim([claim(900 + n, expires=past) for n in range(5)])
    second = PostgresStore(urls("postgres"))
    second.claim([claim(999)])

    assert [None] * 5 == second.look_up([claim(900 + n).key for n in range(5)])
    first.close()
    second.close()


@needs_redis
def test_claims_of_redis_end_with_their_tokens(urls: Callable[[str], str]):
    store = RedisStore(urls("redis"))
    store.claim([claim(800, expires=int(time.time()) + 1000)])
    store.correct(claim(800).key, old=b"a", new=b"ending")
    redis = Redis.from_url(urls("redis"))
    (name,) = [key for key in redis.keys("inferometer:label:*") if redis.get(key) == b"ending"]

    assert 900 < redis.ttl(name) <= 1000
    store.close()


def test_first_claim_counts_and_later_ones_see_its_label(store: ClaimStore):
    assert [None, None] == store.claim([claim(1), claim(2, b"b")])
    assert [b"a", None, None] == store.claim([claim(1, b"c"), claim(3), claim(1, source=1)])
    # Within one chunk as well.
    assert [None, b"x"] == store.claim([claim(4, b"x"), claim(4, b"y")])


def test_label_is_corrected_only_if_it_is_what_was_thought(store: ClaimStore):
    store.claim([claim(1)])

    assert not store.correct(claim(1).key, old=b"z", new=b"b")
    assert store.correct(claim(1).key, old=b"a", new=b"b")
    assert not store.correct(claim(1).key, old=b"a", new=b"c")
    assert not store.correct(claim(9).key, old=b"a", new=b"c")
    assert [b"b"] == store.claim([claim(1)])


def test_threads_that_claim_the_same_at_once_count_each_once(store: ClaimStore):
    def claim_all(seed: int) -> int:
        numbers = [(seed * 37 + n) % 100 for n in range(100)]
        return sum(
            label is None
            for start in range(0, 100, 10)
            for label in store.claim([claim(n) for n in numbers[start : start + 10]])
        )

    with ThreadPoolExecutor(8) as pool:
        assert 100 == sum(pool.map(claim_all, range(8)))


def test_of_two_corrections_at_once_one_is_made(store: ClaimStore):
    store.claim([claim(1)])
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda n: store.correct(claim(1).key, old=b"a", new=bytes([n])), range(8))

        assert Counter(made) == {True: 1, False: 7}


def test_memory_keeps_the_newest():
    memory = MemoryStore(most_claims=3)
    memory.claim([claim(n) for n in range(5)])
    # The two oldest are forgotten, so that they are new again.
    assert [None, None, b"a", b"a", b"a"] == memory.claim([claim(n) for n in range(5)])


def test_file_that_is_full_takes_no_new_claims_and_forgets_none(tmp_path: Path):
    path = tmp_path / "claims.db"
    first, second = (SqliteStore(path, most_claims=100) for _ in range(2))
    past = int(time.time()) - 1
    first.claim([claim(n) for n in range(60)])
    second.claim([claim(n, expires=past) for n in range(60, 90)])
    for store in (first, second):
        with pytest.raises(ClaimStoreError, match="holds its 100 labels"):
            store.claim([claim(n) for n in range(200, 300)])
        assert [b"a"] * 60 == store.look_up([claim(n).key for n in range(60)])
        # What is there already needs no room.
        assert [b"a"] * 60 == store.claim([claim(n, b"z") for n in range(60)])
    # What has expired makes room.
    assert [None] * 30 == second.claim([claim(n) for n in range(60, 90)])
    first.close()
    second.close()


def test_file_that_is_taken_away_is_noticed_by_all(tmp_path: Path):
    path = tmp_path / "claims.db"
    first, second = (SqliteStore(path) for _ in range(2))
    first.claim([claim(1)])
    second.claim([claim(2)])
    for name in ("claims.db", "claims.db-wal", "claims.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)

    assert [None] == first.claim([claim(1)])
    assert [b"a"] == second.claim([claim(1)])
    first.close()
    second.close()


def test_expired_claims_go_as_fast_as_new_ones_come(tmp_path: Path):
    store = SqliteStore(tmp_path / "claims.db", most_claims=0)
    past = int(time.time()) - 1
    for start in range(0, 2_000, 50):
        store.claim([claim(n, expires=past) for n in range(start, start + 50)])

    assert (
        sum(label is not None for label in store.look_up([claim(n).key for n in range(2_000)]))
        <= 50
    )
    store.close()


def test_what_has_expired_is_forgotten(tmp_path: Path):
    path = tmp_path / "claims.db"
    first = SqliteStore(path)
    first.claim([claim(1, expires=int(time.time()) - 1), claim(2)])
    first.close()
    second = SqliteStore(path)
    second.claim([claim(3)])

    assert [None, b"a"] == second.claim([claim(1), claim(2)])
    second.close()


def test_locked_file_claims_nothing_and_is_well_afterwards(tmp_path: Path):
    path = tmp_path / "claims.db"
    store = SqliteStore(path)
    store.claim([claim(1)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(ClaimStoreError, match="locked"):
        store.claim([claim(2)])
    with pytest.raises(ClaimStoreError):
        store.correct(claim(1).key, old=b"a", new=b"b")
    other.execute("ROLLBACK")
    other.close()
    assert [None, b"a"] == store.claim([claim(2), claim(1)])
    store.close()


# Claims one after the other until the file may not grow any more, and again when it may.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from serving.feedback.stores.base import Claim, ClaimStoreError, Key
from serving.feedback.stores.sqlite import SqliteStore

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, most))
store = SqliteStore(Path(sys.argv[1]))
claims = [Claim(Key(n.to_bytes(16), 0, 0), b"x" * 200, 1 << 40) for n in range(20_000)]
chunks = [claims[start : start + 64] for start in range(0, len(claims), 64)]
done = []
try:
    for chunk in chunks:
        done.append(store.claim(chunk))
except ClaimStoreError as error:
    print("full:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
again = [store.claim(chunk) for chunk in chunks]
found = [set(each) for each in again]
print(len(done), found.count({b"x" * 200}), found.count({None}))
"""


def test_full_disk_claims_nothing_and_is_well_when_there_is_room(tmp_path: Path):
    """A limit of a file's size stands for the disk: its error is the same to whoever writes."""
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "claims.db")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    message, counts = ended.stdout.splitlines()
    done, held, free = map(int, counts.split())

    assert message.startswith("full: claims.db: ")
    # What was claimed is, and nothing of the chunk that failed.
    assert 0 < done == held
    assert -(-20_000 // 64) == held + free


def test_claim_that_cannot_be_written_leaves_nothing_begun(tmp_path: Path):
    store = SqliteStore(tmp_path / "claims.db")
    with pytest.raises(OverflowError):
        store.claim([claim(1), claim(2, expires=2**70)])

    assert [None, None] == store.claim([claim(1), claim(2)])
    store.close()


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100])
def test_file_that_is_no_database_is_an_error(tmp_path: Path, content: bytes):
    path = tmp_path / "claims.db"
    path.write_bytes(content)
    store = SqliteStore(path)
    if content:
        with pytest.raises(ClaimStoreError):
            store.claim([claim(1)])
    else:
        assert [None] == store.claim([claim(1)])
    store.close()


def test_folder_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(ClaimStoreError):
        SqliteStore(tmp_path / "not" / "there.db").claim([claim(1)])


CLAIMER = """
import sys
from pathlib import Path
from serving.feedback.stores.base import Claim, Key
from serving.feedback.stores.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    while True:
        try:
            found = store.claim([Claim(Key(number.to_bytes(16), 0, 0), b"a", 2**40)])
            break
        except Exception as error:
            if "locked" not in str(error):
                raise
    # Counted after it was claimed.
    if found == [None]:
        print(number, flush=True)
"""


def test_processes_that_claim_the_same_count_each_once_and_a_kill_counts_nothing_twice(
    tmp_path: Path,
):
    path, number = tmp_path / "claims.db", 2000
    command = [sys.executable, "-c", CLAIMER, str(path), str(number)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    first = running[0]
    assert first.stdout is not None
    seen = [first.stdout.readline() for _ in range(20)]
    os.kill(first.pid, signal.SIGKILL)
    counted = Counter(
        line.strip()
        for text in (*seen, *(process.communicate()[0] for process in running))
        for line in text.splitlines()
    )

    assert set(counted.values()) == {1}
    # At most the one claim that was under way when it was killed is lost.
    assert number - 1 <= len(counted) <= number
