"""A reader that begins, goes back or jumps admits what one that has read everything admits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.base import Area
from streams.faust.epochs import Epochs
from streams.log import Listener, Member, Position, Record, Stored, TopicPartition
from streams.log.envelope import Claim, DamagedRecordError, Fence, encode, record
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import events_topic, topics
from tests.laws import tried
from tests.projections.facts import decision, meta, put_token
from tests.streams.harness import until


class Nobody(Listener):
    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None: ...
    async def lost(self, places: frozenset[TopicPartition]) -> None: ...


PLACE = TopicPartition(events_topic(Area.TOKEN), 3)
GROUP = "sweeper"


def claim() -> Record:
    return Record(None, encode(Claim(owner="other")))


def decided(epoch: int) -> Record:
    return record("token|k", msgspec.structs.replace(decision(put_token(), meta=meta()), epoch=epoch), "demo")


async def everything(log: SqliteLog) -> list[Stored]:
    end = (await log.ends([PLACE]))[PLACE]
    found: list[Stored] = []
    reader = log.reader()
    await reader.assign({PLACE: 0})
    while len(found) < end:
        found.extend((await reader.poll(1.0)).get(PLACE, ()))
    await reader.close()
    return found


async def holds(member: Member) -> bool:
    return PLACE in await member.poll(0.1)


def admitted(records: list[Stored]) -> list[bool]:
    """By a reader that has read everything in order."""
    fence = Fence()
    return [fence.admit(stored) is not None for stored in records]


@settings(max_examples=tried(30), deadline=None)
@given(
    steps=st.lists(st.sampled_from(("claim", "decide", "decide", "late")), min_size=3, max_size=25),
    scanned=st.integers(0, 25),
    visits=st.lists(st.integers(0, 24), min_size=1, max_size=12),
)
def test_wherever_it_reads_it_admits_what_a_reader_of_everything_admits(
    steps: list[str], scanned: int, visits: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Some is there when the epochs are found, the rest comes later; each visit reads three records on end."""
    asyncio.run(_law(steps, scanned, visits, tmp_path_factory.mktemp("law")))


async def _law(steps: list[str], scanned: int, visits: list[int], folder: Path) -> None:
    log = SqliteLog(folder / "log.db")
    await log.start()
    await log.ensure([spec for spec in topics(Layout()) if spec.name == PLACE.topic])
    epochs, claims = Epochs(log, GROUP), [0, 0]
    for number, step in enumerate(steps):
        if number == scanned:
            await epochs.find([PLACE])
        entry = claim() if step == "claim" else decided(claims[-1] if step == "decide" else claims[-2])
        [offset] = await log.append(*PLACE, [entry])
        if step == "claim":
            claims.append(offset)
    records = await everything(log)
    wanted = admitted(records)
    for visit in visits:
        for stored in records[visit : visit + 3]:
            assert (await epochs.admit(stored) is not None) == wanted[stored.offset]
    await log.close()


async def test_it_begins_at_the_sweepers_position_with_its_epoch(embedded: SqliteLog) -> None:
    """What the sweeper has had is of no concern: a decision before that, of an older epoch, looks stale."""
    await embedded.append(*PLACE, [decided(0), claim(), decided(1)])
    member = embedded.member(GROUP, [PLACE.topic], "one", Nobody())
    await member.start()
    await until(lambda: holds(member), 10)
    await member.commit({PLACE: Position(3, "1")})
    await member.close()
    await embedded.append(*PLACE, [decided(0), decided(1)])
    epochs = Epochs(embedded, GROUP)
    await epochs.find([PLACE])

    told = [await epochs.admit(stored) is not None for stored in await everything(embedded)]

    assert told == [False, False, True, False, True]


async def test_what_lies_behind_a_damaged_record_is_not_judged(embedded: SqliteLog) -> None:
    await embedded.append(*PLACE, [decided(0), Record(b"token|k", b"{"), decided(0)])
    epochs = Epochs(embedded, GROUP)
    await epochs.find([PLACE])
    first, damaged, behind = await everything(embedded)

    assert await epochs.admit(first) is not None
    for stored in (damaged, behind):
        with pytest.raises(DamagedRecordError, match=r"token\[3\]@1"):
            await epochs.admit(stored)
