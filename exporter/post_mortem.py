"""A note in the block of a process that cannot write it itself, because it hangs and is killed."""

import os
import struct
from pathlib import Path

from exporter.block.layout import EXIT_NOTE_WORD, EXIT_NOTES

WORD = struct.Struct("<Q")


def note_timeout(directory: Path, pid: int) -> None:
    """Note that a process is ended because it did not answer in time.

    To be called before it is killed: its block may be folded as soon as it has ended.
    """
    for path in directory.glob(f"*-{pid}-*.block"):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            offset = EXIT_NOTE_WORD * WORD.size
            os.pwrite(descriptor, WORD.pack(EXIT_NOTES["timeout"]), offset)
        finally:
            os.close(descriptor)
