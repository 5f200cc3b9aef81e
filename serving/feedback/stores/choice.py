"""Which store there is, by the settings; the libraries of the others are not needed."""

import importlib.util
from collections.abc import Iterable

from serving.feedback.stores.base import ClaimStore
from serving.feedback.stores.memory import MemoryStore
from serving.feedback.stores.sqlite import MOST_CLAIMS, SqliteStore
from serving.process import store_path_of
from serving.settings import Settings

STORE_FILE = "feedback.db"
# What a store needs: the library, and the extra that brings it.
LIBRARIES = {"redis": "redis", "postgres": "psycopg"}


def make_store(settings: Settings) -> ClaimStore:
    """Return the store; nothing is connected to before it is used."""
    url = settings.feedback_store_url
    if settings.feedback_store == "redis" and url is not None:
        from serving.feedback.stores.redis_store import RedisStore

        return RedisStore(url.get_secret_value())
    if settings.feedback_store == "postgres" and url is not None:
        from serving.feedback.stores.postgres import PostgresStore

        return PostgresStore(url.get_secret_value())
    if settings.feedback_store == "memory":
        return MemoryStore()
    if settings.feedback_store_path is not None:
        return SqliteStore(settings.feedback_store_path, most_claims=0)
    return SqliteStore(store_path_of(settings) / STORE_FILE, most_claims=MOST_CLAIMS)


def store_problems(settings: Settings) -> Iterable[str]:
    """Yield why the store of the settings cannot be had."""
    name = settings.feedback_store
    library = LIBRARIES.get(name)
    if library is not None and importlib.util.find_spec(library) is None:
        yield f"feedback_store: {library} is not installed; run: pip install 'inferometer[{name}]'"
