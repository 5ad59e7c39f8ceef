"""Entries as they stand in the log, for tests; the blocks that a store holds of them."""

from __future__ import annotations

from collections.abc import Iterable

from projections.blocks import Block, Entry, Lane, lane_of
from projections.store import Put


def blocks_of(entries: Iterable[tuple[int, Entry]], source: str) -> list[Put]:
    """What is written of these entries of one partition, by their offsets."""
    lanes: dict[Lane, Block] = {}
    blocks: dict[str, Block] = {}
    for offset, entry in entries:
        lane = lane_of(entry, source)
        block = lanes.get(lane)
        if block is None or not block.has_room([entry]):
            block = lanes[lane] = Block.begin(lane, entry, offset)
            blocks[block.id] = block
        block.add([entry], offset)
    return [block.put() for block in blocks.values()]
