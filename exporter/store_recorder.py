"""The recorder of one process, which writes to a block of its own in a store directory."""

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

from exporter.block.layout import SCRATCH_BYTES
from exporter.bundle import Record
from exporter.catalogue.itself import DROPPED_SERIES
from exporter.child import Child
from exporter.errors import CatalogueError
from exporter.family_check import check_family, check_role
from exporter.metric import Family
from exporter.place import Lock
from exporter.process_hooks import start_ticking, tell_after_fork
from exporter.residence import Residence

STARTS = "inferometer_process_starts_total"

logger = logging.getLogger(__name__)


class StoreRecorder:
    """The recorder of one process, writing to its own block in the store directory.

    It goes on with the same children in a forked process, in a second block and without room for
    one; see `Residence`.
    """

    def __init__(
        self,
        directory: Path,
        role: str,
        families: Iterable[Family],
        make_lock: Callable[[], Lock],
        tick_seconds: float | None,
    ) -> None:
        """Open the block. Use `open_recorder`, which declares what every process records."""
        check_role(role)
        self._role = role
        self._families: dict[str, Family] = {}
        self._by_name: dict[str, Family] = {}
        for family in families:
            self.add_family(family)
        self._families.setdefault(DROPPED_SERIES.name, DROPPED_SERIES)
        self._tick_seconds = tick_seconds
        self._tick_calls: list[Callable[[], None]] = []
        self._fork_calls: list[Callable[[], None]] = []
        self._is_full_logged = False
        self._residence = Residence(directory, role, make_lock, self.start)
        tell_after_fork(self)

    def child(self, name: str, /, **labels: str) -> Child:
        """Return the child of a family for these labels, at 0 (or unset) if it is new.

        A value outside a closed set, and a new label set of a family that has its most already, is
        taken as `__other__` and counted as dropped. Values are cut at 128 characters. Raises
        CatalogueError for an unknown family or a wrong label name.
        """
        family = self._families.get(name)
        if family is None:
            raise CatalogueError(f"no metric family {name}")
        values = family.label_values(labels)
        child = self._residence.series.get(name, values)
        if child is None or child.is_ended:
            return self._new_child(family, values)
        return child

    def add_family(self, family: Family) -> None:
        """Let another family be recorded.

        Raises CatalogueError if its name is taken by another, or if it is none that can be shown.
        """
        check_family(family)
        if family.cells * 8 > SCRATCH_BYTES:
            raise CatalogueError(f"a series of {family.name} takes {family.cells * 8} bytes")
        for name in family.claimed_names:
            if self._by_name.get(name, family) != family:
                raise CatalogueError(
                    f"{family.name}: {name} is there already, of {self._by_name[name].name}"
                )
        self._by_name.update(dict.fromkeys(family.claimed_names, family))
        self._families.setdefault(family.name, family)

    def on_tick(self, call: Callable[[], None]) -> None:
        """Have `call` made with every tick."""
        self._tick_calls.append(call)

    def on_fork(self, call: Callable[[], None]) -> None:
        """Have `call` made in every forked process, before anything is recorded there."""
        self._fork_calls.append(call)

    def ensure_ticking(self, seconds: float) -> None:
        """Let a thread tick if nobody was asked to."""
        if self._tick_seconds is None:
            self._tick_seconds = seconds
            start_ticking(self.tick, seconds)

    def remove(self, child: Child) -> None:
        """End a series: it is shown no more, unless another process still has it.

        Ask for the child anew to record in it again. What it had counted is kept for that case,
        while there is room.
        """
        self._residence.end(child)

    def forget(self, /, **labels: str) -> None:
        """Remove every series that has these labels, whatever others it has."""
        for child in self._residence.series.having(labels):
            self.remove(child)

    def bundle(self, counters: Sequence[Child], histograms: Sequence[Child]) -> Record:
        """Return one call that adds to all counters and observes in all histograms under one lock.

        Raises CatalogueError when one of the children is another recorder's.
        """
        return self._residence.bundle(counters, histograms)

    def declare(self, /, **labels: str) -> None:
        """Make the series this role records with these open labels stand at 0.

        Families whose open labels are all given are declared, each with every combination of its
        closed labels; families that are absent until set are left alone.
        """
        for family in self._families.values():
            if self._role not in family.recorded_by or family.is_absent_until_set:
                continue
            if not family.open_labels <= labels.keys():
                continue
            for values in product(
                *(label.values or (labels[label.name],) for label in family.labels)
            ):
                if self._residence.series.get(family.name, values) is None:
                    self._new_child(family, values)

    def tick(self) -> None:
        """Write the sign of life and CPU time, and do what is to be done now and then."""
        self._residence.beat()
        for call in self._tick_calls:
            call()

    def note_exit(self, cause: str) -> None:
        """Note why the process ends; the first note wins. Allowed in a signal handler."""
        self._residence.note_exit(cause)

    def note_end(self) -> None:
        """Note that the interpreter ends. What is still recorded until then counts."""
        self._residence.note_end()

    def close(self) -> None:
        """Note a clean exit and give the block up; its counts stay in every later scrape.

        What is recorded afterwards is not shown.
        """
        self._residence.close()

    def retry_after(self, seconds: float) -> None:
        """Let ticks try so often to get out of private memory; every minute if not called."""
        self._residence.retry_seconds = seconds

    def start(self) -> None:
        """Count this process's start and let its sign of life tick, if that was asked for."""
        is_counted = self._role in getattr(self._families.get(STARTS), "recorded_by", ())
        if is_counted and not self._residence.is_beside:
            self.child(STARTS, role=self._role).inc()
        if self._tick_seconds is not None:
            start_ticking(self.tick, self._tick_seconds)

    def forget_parent(self) -> None:
        """Let go of everything of the parent's, in a process that was just forked."""
        self._residence.forget_parent()
        for call in self._fork_calls:
            call()

    def _new_child(self, family: Family, values: tuple[str, ...]) -> Child:
        """Return a new child, or one that was removed, or that of `__other__`."""
        dropped = self._dropped_of(family)
        child, problem = self._residence.place(family, values)
        if child.values != values and dropped is not None:
            dropped.inc()
        if problem is not None and not self._is_full_logged:
            self._is_full_logged = True
            logger.error("new label sets are recorded as __other__: %s", problem)
        return child

    def _dropped_of(self, family: Family) -> Child | None:
        """Return what counts a family's dropped label sets; it stands at 0 before the first."""
        if not family.labels or family.name == DROPPED_SERIES.name:
            return None
        return self.child(DROPPED_SERIES.name, family=family.name)
