"""Records of an events partition that do not stand where they were written: nobody decides, follows or shows them.

An epoch is the offset of its claim. A copy that moved records, as one that repeated or left some out does, would make
valid decisions look stale, or stale ones valid.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec
import pytest

from streams.following.replay import facts
from streams.log import Record, Stored
from streams.log.envelope import Claim, DamagedRecordError, Fence, decode_entry
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import topics
from tests.streams.counter import Add
from tests.streams.harness import Node, place_of, records, until

PLACE = place_of("counter|a")


async def written(log: SqliteLog) -> list[Stored]:
    """Three deciders one after another, two decisions each."""
    for name in ("one", "two", "three"):
        async with Node(log, name) as node:
            for number in range(2):
                await node.ask(Add(counter="a", amount=1), f"{name}-{number}")
    return await records(log, PLACE)


def moved(history: Sequence[Stored], *, repeat: int = -1, leave: int = -1) -> list[Record]:
    out: list[Record] = []
    for stored in history:
        record = Record(stored.key, stored.value, stored.headers)
        out += [record] * (0 if stored.offset == leave else 2 if stored.offset == repeat else 1)
    return out


async def another(log: SqliteLog, content: Sequence[Record]) -> None:
    await log.start()
    await log.ensure(topics(Layout()))
    await log.append(*PLACE, content)


CLAIMS = (0, 3, 6)


@pytest.mark.parametrize(
    "how", [{"repeat": 0}, {"repeat": 1}, {"repeat": 4}, {"leave": 1}, {"leave": 3}, {"leave": 4}], ids=str
)
async def test_records_that_a_copy_has_moved_halt_their_partition_with_one_line(
    embedded: SqliteLog, how: dict[str, int]
) -> None:
    history = await written(embedded)
    assert tuple(s.offset for s in history if isinstance(decode_entry(s), Claim)) == CLAIMS
    copy = SqliteLog(embedded._path.with_name("copy") / "log.db")
    try:
        await another(copy, moved(history, **how))
        async with Node(copy, "four") as node:
            await until(lambda: len(node.decider.halted) == 1)
            [why] = node.decider.halted.values()
            with pytest.raises(DamagedRecordError, match="no claim stands at its epoch"):
                async with contextlib.aclosing(facts(copy, PLACE)) as batches:
                    async for _ in batches:
                        pass
    finally:
        await copy.close()
    assert why.startswith(f"{PLACE.topic}[{PLACE.partition}]@")
    assert "\n" not in why
    assert why.endswith("with its offsets (docs/operations.md)")


async def test_records_copied_with_their_offsets_are_decided_on(embedded: SqliteLog) -> None:
    history = await written(embedded)
    copy = SqliteLog(embedded._path.with_name("copy") / "log.db")
    try:
        await another(copy, moved(history))
        async with Node(copy, "four") as node:
            reply = await node.ask(Add(counter="a", amount=1), "new")
            assert reply.version == 7
    finally:
        await copy.close()


async def test_a_reader_that_begins_in_the_middle_takes_what_is_older_for_stale(embedded: SqliteLog) -> None:
    """It has not seen the claims before its place, and needs none of them."""
    history = await written(embedded)
    late = msgspec.structs.replace(history[2], offset=5)
    assert Fence(3).admit(late) is None
    fence = Fence(3)
    assert [fence.admit(stored) is not None for stored in history[4:]] == [True, True, False, True, True]
