"""The slots in a block that hold exemplars: written by the process that records, read by others.

A slot's sequence is odd while it is being written and higher after each writing, so a reader that
finds it odd, or changed between two reads, leaves the exemplar out.
"""

import struct
import sys
import time
from array import array
from collections.abc import Iterator, Mapping

from exporter.metric import EXEMPLAR_CELLS, Family
from exporter.view import Exemplar

_SLOT = struct.Struct("=Qdd16s")
_WRITTEN_ONCE = 2
TRACE_ID_BYTES = 16

# A slot is written at most this often: an example a second is plenty, and recording stays cheap.
LEAST_SECONDS = 1.0


def note_exemplar(
    cells: "memoryview[float]", words: "memoryview[int]", slot: int, value: float, trace_id: bytes
) -> None:
    """Write an exemplar into the slot whose sequence stands at `slot`; under the block's lock.

    What is no trace id of 16 bytes is ignored.
    """
    if type(trace_id) is not bytes or len(trace_id) != TRACE_ID_BYTES:
        return
    now = time.time()
    if 0.0 <= now - cells[slot + 2] < LEAST_SECONDS:
        return
    sequence = words[slot]
    words[slot] = sequence | 1
    cells[slot + 1] = value
    cells[slot + 2] = now
    words[slot + 3] = int.from_bytes(trace_id[:8], sys.byteorder)
    words[slot + 4] = int.from_bytes(trace_id[8:], sys.byteorder)
    words[slot] = (sequence | 1) + 1


def has_exemplars(family: Family, values: "array[float]", index: int) -> bool:
    """Return whether a slot of a series has ever been written, in one block or a sum of blocks.

    A sequence is a small number, so that as a float it is tiny but above 0, and so is any sum.
    """
    first = index + family.value_cells
    return any(values[first : first + EXEMPLAR_CELLS * family.exemplar_slots : EXEMPLAR_CELLS])


def exemplars_in(
    family: Family, values: "array[float]", again: "array[float]", index: int
) -> Iterator[tuple[int, Exemplar]]:
    """Yield a series' exemplars by bucket.

    `values` and `again` are two reads of the same block, one after the other; the series begins at
    `index` of both.
    """
    first = index + family.value_cells
    words, words_again = (memoryview(read).cast("B").cast("Q") for read in (values, again))
    for place in range(family.exemplar_slots):
        slot = first + place * EXEMPLAR_CELLS
        sequence = words[slot]
        if sequence and not sequence & 1 and sequence == words_again[slot]:
            trace_id = words[slot + 3 : slot + 5].tobytes()
            yield place, Exemplar(values[slot + 1], values[slot + 2], trace_id)


def encode_exemplars(family: Family, exemplars: Mapping[int, Exemplar]) -> bytes:
    """Return all slots of one series, for a block that is written as a whole."""
    slots = []
    for place in range(family.exemplar_slots):
        exemplar = exemplars.get(place)
        slots.append(_SLOT.pack(_WRITTEN_ONCE, *exemplar) if exemplar else bytes(_SLOT.size))
    return b"".join(slots)
