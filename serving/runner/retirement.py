"""How loaded versions go: no new requests, those that wait finish, then the memory."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from serving.errors import Draining
from serving.runner.catalog import ModelCatalog
from serving.runner.queue import BatchQueue

DRAIN_POLL_SECONDS = 0.01

logger = logging.getLogger(__name__)


class Retirement:
    """Lets versions go, in the loader's thread."""

    def __init__(
        self,
        catalog: ModelCatalog,
        queues: Mapping[str, BatchQueue],
        announce: Callable[[], None],
        *,
        drain_seconds: float,
    ) -> None:
        """`announce` returns when every front-end knows of the catalog's states."""
        self._catalog = catalog
        self._queues = queues
        self._announce = announce
        self._drain_seconds = drain_seconds

    def let_all_go(self, name: str) -> None:
        """Unload a model, whatever state its versions are in."""
        self.let_go(name, keep=[])
        for known in self._catalog.versions():
            if known.model == name and known.state != "unloaded":
                self._catalog.note(replace(known, state="unloaded", step="", error=""))
        self._announce()

    def let_go(self, name: str, *, keep: list[str]) -> None:
        """Let loaded versions go: no new requests, those that wait finish, then the memory."""
        leaving = [one.version for one in self._catalog.loaded(name) if one.version not in keep]
        if not leaving:
            return
        for version in leaving:
            known = self._catalog.version(name, version)
            assert known is not None
            # Front-ends stop asking for it before this process stops taking requests for it.
            self._catalog.note(replace(known, state="draining"))
        self._announce()
        waiting = self._queues[name]
        for version in leaving:
            self._catalog.close(name, version)
            waiting.drain_version(version)
            self._wait_until_drained(name, version)
            known = self._catalog.version(name, version)
            assert known is not None
            self._catalog.drop(replace(known, state="unloaded"))
            waiting.forget_version(version)
            logger.info("model %s version %s is unloaded", name, version)
        self._announce()

    def _wait_until_drained(self, name: str, version: str) -> None:
        waiting = self._queues[name]
        deadline = time.monotonic() + self._drain_seconds
        while waiting.holds(version) and time.monotonic() < deadline:
            time.sleep(DRAIN_POLL_SECONDS)
        waiting.fail_waiting(
            Draining(f"model {name} version {version} is being unloaded", retry_after_seconds=1.0),
            version,
        )
