"""Folds dead processes' blocks into the one retired block, without losing or doubling a count.

The rename of the new retired block is the one moment at which the dead change sides: before it they
are read as blocks, after it they are skipped by the ids that the retired block names.
"""

import contextlib
import logging
import math
import os
import struct
from array import array
from pathlib import Path

from exporter import host
from exporter.admitted import Admitted, forget_removed
from exporter.block.layout import (
    COMMIT_WORD,
    GENERATION_WORD,
    HEADER_BYTES,
    LARGEST_BLOCK_BYTES,
    PAGE_BYTES,
    BlockHeader,
    SeriesEntry,
    encode_family,
    encode_folded,
    encode_series,
)
from exporter.block.reader import BlockReader
from exporter.directory import RETIRED_NAME, block_paths
from exporter.exemplar_slots import encode_exemplars
from exporter.merge import merge
from exporter.metric import Family
from exporter.succession import finally_dead
from exporter.view import UNSET, MergedFamily, MergedSeries, View

MOST_BAD_FILES = 10

logger = logging.getLogger(__name__)


def fold(
    directory: Path,
    retired: BlockReader | None,
    blocks: list[BlockReader],
    admitted: Admitted,
) -> None:
    """Move the counts of dead blocks into the retired block and delete their files.

    Call it under the fold lock, with blocks read after their processes were seen dead. Killed at
    any point it leaves totals as they were; the next fold finishes what is left.
    """
    dead = finally_dead(blocks)
    already = retired.table.folded if retired else set()
    fresh = [block for block in dead if block.block_id not in already]
    _delete(directory, [block for block in dead if block.block_id in already])
    if not fresh:
        return
    # An id must be remembered for as long as its file could still be read and counted again.
    folded = {block.block_id for block in fresh} | _still_there(directory, already)
    generation = (retired.generation if retired else 0) + 1
    live = [block for block in blocks if block.is_alive]
    view = forget_removed(merge(retired, fresh), live)
    admitted.admit(view, retired, is_whole=False)
    # The definition of a family is the youngest process's, dead or not.
    created = max(block.created for block in (*fresh, *([retired] if retired else ())))
    image = _encode(view, folded, generation, created)
    if len(image) > LARGEST_BLOCK_BYTES:
        logger.error("dead processes' blocks are not folded: %d bytes are too many", len(image))
        return
    new = directory / f"{RETIRED_NAME}.new"
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(
        new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(image)
    new.rename(directory / RETIRED_NAME)
    _delete(directory, fresh)
    logger.debug("folded %d dead processes' blocks", len(fresh))


def _still_there(directory: Path, block_ids: set[int]) -> set[int]:
    names = [path.name for path in block_paths(directory)]
    return {number for number in block_ids if any(f"{number:016x}" in name for name in names)}


def _delete(directory: Path, blocks: list[BlockReader]) -> None:
    """Delete blocks whose counts are in the retired one; some damaged ones are kept to look at."""
    kept = len(list(directory.glob("*.bad")))
    for block in blocks:
        with contextlib.suppress(OSError):
            if block.is_damaged and kept < MOST_BAD_FILES:
                kept += 1
                bad = block.path.with_suffix(".bad")
                block.path.rename(bad)
                logger.warning("%s is damaged; what could be read of it counts", bad.name)
            else:
                block.path.unlink()


def _encode(view: View, folded: set[int], generation: int, created: float) -> bytes:
    """Return a complete block image that holds the counters and histograms of a view."""
    families = [
        merged
        for merged in view.families.values()
        if merged.family.kind != "gauge" or merged.family.outlives_process
    ]
    values = b"".join(
        array("d", _values(merged.family, series)).tobytes()
        + encode_exemplars(merged.family, series.exemplars)
        for merged in families
        for series in merged.series.values()
    )
    # A table's size does not depend on where the values lie, so it is laid out once to be measured.
    header = _header(len(_encode_table(families, folded, 0)), len(values), created)
    table = _encode_table(families, folded, header.values_offset // 8)
    head = bytearray(header.encode())
    struct.pack_into("<Q", head, COMMIT_WORD * 8, len(table))
    struct.pack_into("<Q", head, GENERATION_WORD * 8, generation)
    table = table.ljust(header.table_bytes, b"\0")
    return bytes(head) + table + values


def _values(family: Family, series: MergedSeries) -> tuple[float, ...]:
    created = -series.created if series.is_removed else series.created
    if family.kind == "gauge":
        is_unset = series.stamp == UNSET
        return (created, math.nan if is_unset else series.cells[0], series.stamp)
    return (created, *series.cells)


def _encode_table(families: list[MergedFamily], folded: set[int], index: int) -> bytes:
    entries = [encode_folded(folded)]
    for number, merged in enumerate(families):
        entries.append(encode_family(number, merged.family))
        for labels in merged.series:
            entries.append(encode_series(SeriesEntry(number, labels, index)))
            index += merged.family.cells
    return b"".join(entries)


def _header(table_bytes: int, values_bytes: int, created: float) -> BlockHeader:
    table_capacity = _whole_pages(table_bytes)
    return BlockHeader(
        block_id=0,
        pid=os.getpid(),
        start_time=0,
        pid_namespace=host.pid_namespace(),
        boot_id=host.boot_id(),
        role="retired",
        created=created,
        table_offset=HEADER_BYTES,
        table_bytes=table_capacity,
        values_offset=HEADER_BYTES + table_capacity,
        values_bytes=values_bytes,
    )


def _whole_pages(size: int) -> int:
    return max(1, -(-size // PAGE_BYTES)) * PAGE_BYTES
