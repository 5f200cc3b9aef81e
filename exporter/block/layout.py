r"""The format of a block: header, append-only table of families and series, 8-byte values.

| offset | bytes | field                                                                        |
| ------ | ----- | ---------------------------------------------------------------------------- |
| 0      | 8     | magic `INFEROM\0`; 8: u32 format version; 12: u32 header size                |
| 16     | 8     | block id, random; 24: pid; 32: start time of the process; 40: PID namespace  |
| 48     | 16    | boot id; 64: role, 16 bytes, NUL-padded; 80: f64 wall-clock time of creation  |
| 88     | 8 × 4 | table offset, table capacity, values offset, values capacity, in bytes       |
| 120    | 4     | CRC-32 of bytes 0 to 119                                                     |
| 128    | 8     | commit word: bytes of the table in use; from here on the header is mutable   |
| 136    | 8 × 4 | heartbeat (monotonic ns), CPU time (ns), exit note, generation               |
| 168    | 8 × 2 | state (1 open, 2 closing, + 4 beside another), id of the block it goes on from |

Every mutable field is written by one aligned 8-byte store. A table entry is a u32 length (a
multiple of 8), a u32 CRC-32 of what follows, a u32 kind, and a body padded with NULs. It is
complete, and its values are initialised, before the commit word moves past it: a reader never sees
half of it.

A series' values: counter: created, value. Gauge: created, value, stamp. Histogram: created, sum,
one cell per edge (not cumulative) and one above the last. `created` is wall-clock seconds, negative
once the series was removed; what it had counted stays. Counters
and histograms that keep exemplars have a slot for each classic bucket behind their values: a u64
sequence, odd while the slot is being written, the example's value and wall-clock time, and the 16
bytes of its trace id.

A process whose block is full goes on in another, which names the first as its predecessor. The new
one takes over at the moment at which the first is marked as closing: until then its gauges and its
end are those of the process, from then on the new one's.
"""

import dataclasses
import json
import struct
import zlib
from dataclasses import asdict, dataclass
from functools import lru_cache

from exporter.errors import BlockError
from exporter.family_check import check_family
from exporter.metric import Family, Label

MAGIC = b"INFEROM\0"
FORMAT_VERSION = 1
HEADER_BYTES = 4096
PAGE_BYTES = 4096

HEADER = struct.Struct("<8sIIQQQQ16s16sdQQQQ")
HEADER_CRC = struct.Struct("<I")
HEADER_CRC_OFFSET = 120

# Indices of the mutable fields, in 8-byte words from the start of the block.
COMMIT_WORD = 128 // 8
HEARTBEAT_WORD = 136 // 8
CPU_WORD = 144 // 8
EXIT_NOTE_WORD = 152 // 8
GENERATION_WORD = 160 // 8
STATE_WORD = 168 // 8
PREDECESSOR_WORD = 176 // 8
MUTABLE_WORDS = struct.Struct("<QQQQQQQ")

OPEN = 1
CLOSING = 2
BESIDE = 4  # beside another block of the same process, which speaks for the process

EXIT_CAUSES = {0: "signal", 1: "exit", 2: "timeout"}
EXIT_NOTES = {cause: note for note, cause in EXIT_CAUSES.items()}

# A live block has its full size from the start and is sparse, so published offsets never move.
TABLE_BYTES = 1 << 20
VALUES_BYTES = 15 << 20
# Behind the last value that can be published: where series without a place of their own record.
SCRATCH_BYTES = 64 << 10
# No block of ours is larger; a header that claims more is not believed.
LARGEST_BLOCK_BYTES = 1 << 28

MOST_KEPT_DEFINITIONS = 4_096

KIND_FAMILY = 1
KIND_SERIES = 2
KIND_FOLDED = 3

ENTRY_HEAD = struct.Struct("<III")
SERIES_HEAD = struct.Struct("<IIQ")
LENGTH = struct.Struct("<H")


_DEFINING = tuple(field.name for field in dataclasses.fields(Family) if field.init)


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """The constant part of a block's header."""

    block_id: int
    pid: int
    start_time: int
    pid_namespace: int
    boot_id: bytes
    role: str
    created: float
    table_offset: int
    table_bytes: int
    values_offset: int
    values_bytes: int

    def encode(self) -> bytes:
        """Return the first HEADER_BYTES of a block, with nothing committed yet."""
        packed = HEADER.pack(
            MAGIC,
            FORMAT_VERSION,
            HEADER_BYTES,
            self.block_id,
            self.pid,
            self.start_time,
            self.pid_namespace,
            self.boot_id,
            self.role.encode().ljust(16, b"\0"),
            self.created,
            self.table_offset,
            self.table_bytes,
            self.values_offset,
            self.values_bytes,
        )
        return (packed + HEADER_CRC.pack(zlib.crc32(packed))).ljust(HEADER_BYTES, b"\0")

    @classmethod
    def decode(cls, data: bytes, file_bytes: int) -> "BlockHeader":
        """Read a header.

        Raise BlockError when it is not one or promises more than the file holds.
        """
        if not data:
            raise BlockError("empty", "the file is empty")
        if len(data) < HEADER_BYTES:
            raise BlockError("truncated", f"the header has {len(data)} of {HEADER_BYTES} bytes")
        if data[:8] != MAGIC:
            raise BlockError("magic", f"the file begins with {data[:8]!r}")
        packed = data[: HEADER.size]
        (_, version, header_bytes, *constants) = HEADER.unpack(packed)
        if version != FORMAT_VERSION:
            raise BlockError(
                "version", f"format version {version}, this release reads {FORMAT_VERSION}"
            )
        (crc,) = HEADER_CRC.unpack_from(data, HEADER_CRC_OFFSET)
        if crc != zlib.crc32(packed) or header_bytes != HEADER_BYTES:
            raise BlockError("corrupt", "the header's checksum does not fit")
        constants[5] = constants[5].rstrip(b"\0").decode("utf-8", "replace")
        header = cls(*constants)
        header._check_extent(file_bytes)
        return header

    def _check_extent(self, file_bytes: int) -> None:
        if self.table_offset % PAGE_BYTES or self.values_offset % PAGE_BYTES:
            raise BlockError("corrupt", "the header's offsets are no multiples of a page")
        end = self.values_offset + self.values_bytes
        if end > LARGEST_BLOCK_BYTES or self.table_offset + self.table_bytes > self.values_offset:
            raise BlockError("corrupt", f"the header claims {end} bytes")
        if end > file_bytes:
            raise BlockError("truncated", f"the file has {file_bytes} of {end} bytes")


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """One series of a block.

    The number of its family, its label values, its first value's index.
    """

    family_id: int
    labels: tuple[str, ...]
    index: int


@dataclass(slots=True)
class Table:
    """The parsed entries of a table, in order of appearance.

    Families by number, series by their family's number; `values_end` is the index behind the last
    value in use.
    """

    families: dict[int, Family] = dataclasses.field(default_factory=dict)
    series: dict[int, list[SeriesEntry]] = dataclasses.field(default_factory=dict)
    folded: set[int] = dataclasses.field(default_factory=set)
    values_end: int = 0


def encode_family(family_id: int, family: Family) -> bytes:
    """Return the table entry that defines a family under a number."""
    definition = {name: getattr(family, name) for name in _DEFINING}
    definition["labels"] = [asdict(label) for label in family.labels]
    return _encode_entry(KIND_FAMILY, b"%d %s" % (family_id, json.dumps(definition).encode()))


def encode_series(series: SeriesEntry) -> bytes:
    """Return the table entry that publishes a series."""
    values = [value.encode() for value in series.labels]
    body = SERIES_HEAD.pack(series.family_id, len(values), series.index)
    return _encode_entry(KIND_SERIES, body + b"".join(LENGTH.pack(len(v)) + v for v in values))


def encode_folded(block_ids: set[int]) -> bytes:
    """Return the table entry, of the retired block alone, that names the blocks folded into it."""
    return _encode_entry(KIND_FOLDED, json.dumps(sorted(block_ids)).encode())


def decode_table(data: bytes, table: Table, values: range) -> int:
    """Add the entries in `data` to `table`; return how many bytes were understood.

    Reading stops at the first entry that is damaged or points outside `values` (indices): what came
    before it still counts.
    """
    position = 0
    while position + ENTRY_HEAD.size <= len(data):
        length, crc, kind = ENTRY_HEAD.unpack_from(data, position)
        end = position + length
        if length < ENTRY_HEAD.size or length % 8 or end > len(data):
            break
        if crc != zlib.crc32(data[position + 8 : end]):
            break
        try:
            _decode_entry(kind, data[position + ENTRY_HEAD.size : end], table, values)
        except Exception:
            # Whatever a hostile entry with a right checksum brings about: the table ends here.
            break
        position = end
    return position


def _encode_entry(kind: int, body: bytes) -> bytes:
    length = -(-(ENTRY_HEAD.size + len(body)) // 8) * 8
    checked = (struct.pack("<I", kind) + body).ljust(length - 8, b"\0")
    return struct.pack("<II", length, zlib.crc32(checked)) + checked


def _decode_entry(kind: int, body: bytes, table: Table, values: range) -> None:
    if kind == KIND_FAMILY:
        family_id, definition = body.rstrip(b"\0").split(b" ", 1)
        if int(family_id) in table.families:
            raise ValueError(f"family {int(family_id)} is defined twice")
        table.families[int(family_id)] = _decode_family(definition)
    elif kind == KIND_SERIES:
        series = _decode_series(body)
        family = table.families[series.family_id]
        # Values follow each other without gap or overlap, so a small file cannot claim large ones.
        if series.index != (table.values_end or values.start):
            raise ValueError(f"the values at {series.index} do not follow those before")
        if series.index + family.cells - 1 not in values:
            raise ValueError(f"values at {series.index} lie outside the block")
        if len(series.labels) != len(family.labels):
            raise ValueError(f"{family.name} has {len(family.labels)} labels, got {series.labels}")
        table.series.setdefault(series.family_id, []).append(series)
        table.values_end = max(table.values_end, series.index + family.cells)
    elif kind == KIND_FOLDED:
        table.folded.update(int(block_id) for block_id in json.loads(body.rstrip(b"\0")))


@lru_cache(MOST_KEPT_DEFINITIONS)
def _decode_family(definition: bytes) -> Family:
    """Return the family; the same object for the same definition, whichever block it is in."""
    fields = json.loads(definition)
    fields["labels"] = tuple(
        Label(label["name"], tuple(label["values"])) for label in fields["labels"]
    )
    fields["buckets"] = tuple(fields["buckets"])
    fields["recorded_by"] = tuple(fields["recorded_by"])
    family = Family(**fields)
    check_family(family)
    return family


def _decode_series(body: bytes) -> SeriesEntry:
    family_id, count, index = SERIES_HEAD.unpack_from(body)
    position = SERIES_HEAD.size
    labels = []
    for _ in range(count):
        (length,) = LENGTH.unpack_from(body, position)
        position += LENGTH.size
        value = body[position : position + length]
        if len(value) != length:
            raise ValueError("a label value is cut short")
        labels.append(value.decode())
        position += length
    return SeriesEntry(family_id, tuple(labels), index)
