"""Which of a process's blocks is the one it records in, when a full one was followed by another.

The later block names its predecessor. It is the process's from the moment at which the predecessor
is marked as closing; until then the predecessor is. Blocks are read one after the other while that
happens, so the order of the reads matters.
"""

from exporter.block.reader import BlockReader


def settle(blocks: list[BlockReader]) -> bool:
    """Find out which blocks are current; return whether all that is known of them fits together.

    Where it does not, a block was read while its process moved: read everything again. Raises
    BlockError when a block has gone meanwhile.
    """
    by_id = {block.block_id: block for block in blocks}
    followed = set()
    for block in blocks:
        before = by_id.get(block.predecessor)
        if before is not None:
            followed.add(before.block_id)
            before.refresh()  # What it is was perhaps read before the move, and the block after it.
            if before.is_closing:
                block.refresh()  # What it holds was perhaps read before the move.
    for block in blocks:
        before = by_id.get(block.predecessor)
        block.is_current = not block.is_closing and (before is None or before.is_closing)
    return all(block.block_id in followed for block in blocks if block.is_closing)


def finally_dead(blocks: list[BlockReader]) -> list[BlockReader]:
    """Return the blocks of dead processes that can be folded now.

    One whose successor still looks alive waits, unless it is closing: only together do they tell
    how the process ended.
    """
    followed = {block.predecessor for block in blocks if block.is_alive}
    return [
        block
        for block in blocks
        if not block.is_alive and (block.is_closing or block.block_id not in followed)
    ]
