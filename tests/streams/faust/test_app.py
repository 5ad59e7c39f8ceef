"""Faust on a real Kafka: documents equal to the engine's, in batches, nothing acknowledged before it was written.

What a killed one skipped the sweeper repairs in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import pytest

from commands.base import Area
from domain.aggregate import Event
from domain.session import session_aggregate_id
from projections.store import HUB, Document, Query, ReadStore
from projections.store.mongo import MongoReadStore
from projections.store.sqlite import SqliteReadStore
from streams.following.follower import Follower
from streams.following.replay import facts, places
from streams.log import Log, Record, Stored, TopicPartition
from streams.log.envelope import Claim, encode, raw, record
from streams.log.kafka.log import KafkaLog
from streams.log.layout import Layout
from streams.log.topology import DEAD, FAUST, FAUST_TABLES, events_topic, topics
from streams.projecting.projector import Projector
from tests.projections.facts import EVENTS, corrected, decision, ended, meta, priced, put_token, started, used
from tests.servers import Kafka, Mongo
from tests.servers.plugin import _own
from tests.streams.faust_worker import VIEWS
from tests.streams.harness import until

pytestmark = [pytest.mark.kafka, pytest.mark.mongo]

AREAS = (Area.SESSION, Area.TOKEN)
KILLS = int(os.environ.get("FAUST_KILLS", "1"))
"""How often Faust is killed under traffic; the drills do it more often."""
TOPICS = tuple(
    spec
    for spec in topics(Layout())
    if spec.name in {DEAD, *(events_topic(area) for area in AREAS)} or spec.name.startswith(f"{FAUST}-")
)


@dataclass
class World:
    log: KafkaLog
    store: MongoReadStore
    arguments: list[str]
    folder: Path

    @contextlib.contextmanager
    def faust(self, node: str = "one") -> Iterator[None]:
        """The application in a process of its own, killed at the end."""
        counts = self.counts_file(node)
        command = [sys.executable, "-m", "tests.streams.faust_worker", *self.arguments, str(counts), node]
        with self.told_file.open("ab") as told:
            process = subprocess.Popen(command, stderr=told)
        try:
            yield
        finally:
            process.kill()
            process.wait()
            counts.unlink(missing_ok=True)

    def counts_file(self, node: str) -> Path:
        return self.folder / f"counts-{node}"

    @property
    def told_file(self) -> Path:
        return self.folder / "told"

    def told(self, what: str) -> list[str]:
        """The lines of its log that say this."""
        return [line for line in self.told_file.read_text().splitlines() if what in line]

    def counts(self, node: str = "one") -> tuple[int, int, int]:
        """Handled, gaps and stale ones of the process that runs."""
        counts = self.counts_file(node)
        if not counts.exists():
            return 0, 0, 0
        return cast("tuple[int, int, int]", tuple(msgspec.json.decode(counts.read_bytes())))


@contextlib.asynccontextmanager
async def a_world(config: pytest.Config, mongo: Mongo, folder: Path) -> AsyncIterator[World]:
    with _own(config, "kafka") as server:
        broker = cast("Kafka", server)
        log = KafkaLog(broker.url, session_timeout=2.0)
        await log.start()
        await log.ensure(TOPICS)
        prefix = f"t{uuid.uuid4().hex[:10]}_"
        store = MongoReadStore(mongo.url, database_prefix=prefix)
        yield World(log, store, [broker.url, mongo.url, prefix], folder)
        await store.close()
        await log.close()


@pytest.fixture
async def world(pytestconfig: pytest.Config, mongo: Mongo, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(pytestconfig, mongo, tmp_path) as world:
        yield world


class Writer:
    """What a decider leaves in the log: claims, decisions, and now and then those of a stale one."""

    def __init__(self, log: Log, ids: int = 12) -> None:
        self.log = log
        self.epochs: dict[TopicPartition, int] = {}
        self.versions: dict[str, int] = {}
        self.tokens = [f"token|k{i}" for i in range(ids)]
        self.sessions = [str(uuid.uuid4()) for _ in range(ids)]
        self.written = 0

    async def turn(self) -> None:
        """The next event of every token and session."""
        for id in self.tokens:
            version = self.versions.get(id, 0) + 1
            self.versions[id] = version
            await self._append(
                Area.TOKEN, msgspec.structs.replace(put_token(version, version), originator_id=id)
            )
        for id in self.sessions:
            version = self.versions.get(id, 0) + 1
            self.versions[id] = version
            event = started(id=id) if version == 1 else used(version, version, 10 * version, id=id)
            await self._append(Area.SESSION, event)

    async def end(self) -> None:
        """Every session ends, with its CDR."""
        for id in self.sessions:
            version = self.versions[id]
            self.versions[id] = version + 2
            await self._append(Area.SESSION, ended(version + 1, 1000, 500, id=id))
            await self._append(Area.SESSION, priced(version + 2, 1001, id=id))

    async def correct(self) -> None:
        """The true end of every session comes after all."""
        for id in self.sessions:
            self.versions[id] += 1
            await self._append(Area.SESSION, corrected(self.versions[id], 4000, 600, id=id))

    def reached(self) -> dict[str, int]:
        """The version of each aggregate."""
        return {id if id in self.tokens else session_aggregate_id(id): v for id, v in self.versions.items()}

    async def hand_over(self) -> None:
        """Another decider claims every partition; the stopped one goes on, in vain."""
        for place in places(self.log, AREAS):
            old = self.epochs.get(place, 0)
            [self.epochs[place]] = await self.log.append(*place, [Record(None, encode(Claim(owner="other")))])
            for id in self.tokens:
                if place == TopicPartition(events_topic(Area.TOKEN), Layout().partition_of(id)):
                    stale = msgspec.structs.replace(
                        put_token(self.versions[id] + 1, 999),
                        originator_id=id,
                        token_type="OTHER",
                        valid=False,
                    )
                    await self._append(Area.TOKEN, stale, epoch=old)

    async def _append(self, area: Area, event: Event, epoch: int | None = None) -> None:
        key = event.originator_id
        place = TopicPartition(events_topic(area), Layout().partition_of(key))
        entry = msgspec.structs.replace(
            decision(event, meta=meta()), epoch=self.epochs.get(place, 0) if epoch is None else epoch
        )
        await self.log.append(*place, [record(key, entry, "demo")])
        self.written += epoch is None


async def documents(store: ReadStore) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {}
    for db, collection in ((HUB, "sessions"), (HUB, "tokens"), (HUB, "cdrs"), ("ocpp_demo", "sessions")):
        page = await store.find(Query(db, collection, limit=500))
        found[f"{db}/{collection}"] = sorted(page.items, key=lambda document: str(document["_id"]))
    return found


async def folded(log: Log, folder: Path) -> dict[str, list[Document]]:
    """What the projector engine makes of the whole log."""
    store = SqliteReadStore(folder)
    engine = Projector(store, EVENTS, VIEWS, ())
    for place in places(log, AREAS):
        async for batch in facts(log, place):
            if batch:
                await engine.handle(place, batch)
    found = await documents(store)
    await store.close()
    return found


async def handled_after_a_turn(world: World, writer: Writer) -> bool:
    await writer.turn()
    return world.counts()[0] > 0


async def equal(store: ReadStore, wanted: dict[str, list[Document]]) -> bool:
    return await documents(store) == wanted


@pytest.mark.long(14)
async def test_with_the_sweeper_behind_it_documents_equal_the_engines_and_stale_records_never_reach_them(
    world: World, tmp_path: Path
) -> None:
    """What the sweeper has had before Faust's start is the sweeper's."""
    writer = Writer(world.log)
    await writer.turn()
    await writer.hand_over()
    sweeper = Projector(world.store, EVENTS, VIEWS, (), sweeping=True)
    follower = Follower(world.log, "sweeper", AREAS, "one", sweeper.handle, behind=2.0)
    sweeping = asyncio.create_task(follower.run())
    with world.faust():
        await until(lambda: handled_after_a_turn(world, writer), 60)
        await writer.hand_over()
        await writer.turn()
        wanted = await folded(world.log, tmp_path / "fold")
        await until(lambda: equal(world.store, wanted), 40)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)


async def changelog(log: Log) -> list[Stored]:
    """Every row that Faust has kept, of all its tables."""
    rows = [
        TopicPartition(f"{FAUST}-{table}-changelog", number)
        for table in FAUST_TABLES.values()
        for number in range(Layout().partitions)
    ]
    begins, ends = await log.beginnings(rows), await log.ends(rows)
    open_ = {place: begins[place] for place in rows if begins[place] < ends[place]}
    found: list[Stored] = []
    reader = log.reader()
    await reader.assign(open_)
    while open_:
        for place, batch in (await reader.poll(1.0, 5000)).items():
            found.extend(batch)
            if batch[-1].offset + 1 >= ends[place]:
                del open_[place]
    await reader.close()
    return found


@pytest.mark.long(24)
async def test_a_row_is_recovered_from_the_changelog_partition_of_its_key(
    world: World, tmp_path: Path
) -> None:
    """Without its documents: what they are after one more event, only the rows can say."""
    writer = Writer(world.log, ids=40)
    for _ in range(3):
        await writer.turn()
    with world.faust():
        wanted = await folded(world.log, tmp_path / "one")
        await until(lambda: equal(world.store, wanted), 60)
        await writer.turn()
        wanted = await folded(world.log, tmp_path / "two")
        await until(lambda: equal(world.store, wanted), 20)
        await until(lambda: kept(world.log, writer.reached()), 20)
    rows = await changelog(world.log)
    assert {(row.key, row.partition) for row in rows} == {
        (id.encode(), Layout().partition_of(id)) for id in writer.reached()
    }

    await world.store.drop_all([HUB, "ocpp_demo"])
    await writer.turn()
    with world.faust():
        wanted = await folded(world.log, tmp_path / "three")
        await until(lambda: equal(world.store, wanted), 60)
        assert world.counts()[1] == 0


@pytest.mark.long(19)
async def test_rows_of_sessions_that_are_over_leave_the_changelog_and_what_comes_after_all_is_taken_in(
    world: World, tmp_path: Path
) -> None:
    writer = Writer(world.log)
    for _ in range(2):
        await writer.turn()
    with world.faust():
        await until(lambda: kept(world.log, writer.reached()), 60)
        await writer.end()
        await until(lambda: left(world.log, writer), 20)
    await writer.correct()
    with world.faust():
        wanted = await folded(world.log, tmp_path / "fold")
        await until(lambda: equal(world.store, wanted), 60)
        assert world.counts()[1] == 0
        await until(lambda: left(world.log, writer), 20)


async def left(log: Log, writer: Writer) -> bool:
    """Whether no row of a session is left, and all those of tokens are."""
    rows = {(row.key or b"").decode(): row.value for row in await changelog(log)}
    return {id for id, row in rows.items() if row is not None} == set(writer.tokens) and len(rows) == len(
        writer.versions
    )


async def kept(log: Log, versions: dict[str, int]) -> bool:
    """Whether the changelog has the newest row of each aggregate."""
    rows = {(row.key or b"").decode(): row.value or b"" for row in await changelog(log)}
    return {id: msgspec.json.decode(row)["version"] for id, row in rows.items()} == versions


@pytest.mark.long(11)
async def test_an_unknown_event_halts_its_partition_with_one_line_and_the_others_go_on(
    world: World, tmp_path: Path
) -> None:
    writer = Writer(world.log)
    await writer.turn()
    id = writer.tokens[0]
    place = TopicPartition(events_topic(Area.TOKEN), Layout().partition_of(id))
    entry = msgspec.structs.replace(
        decision(put_token(2), meta=meta()), events=[raw({"type": "token.from_tomorrow.v9"})]
    )
    [halt] = await world.log.append(*place, [record(id, entry, "demo")])
    with world.faust():
        for _ in range(3):
            await writer.turn()
        wanted = {
            token.partition("|")[2]
            for token in writer.tokens
            if Layout().partition_of(token) != place.partition
        }

        async def others_are_new() -> bool:
            page = await world.store.find(Query(HUB, "tokens", limit=500))
            versions = {str(document["_id"]): document["version"] for document in page.items}
            return all(versions.get(token) == 4 for token in wanted)

        await until(others_are_new, 60)
        await until(lambda: committed_all(world.log, besides=place), 20)
        halted = await world.store.get(HUB, "tokens", id.partition("|")[2])
    assert halted is not None and halted["version"] == 1
    [line] = world.told("halts")
    assert line == (
        f"faust halts at {place.topic}[{place.partition}]: unknown event 'token.from_tomorrow.v9' in the log: "
        "written by a newer release, upgrade this process"
    )
    committed = (await world.log.committed(FAUST, [place])).get(place)
    assert committed is None or committed.offset <= halt


@pytest.mark.long(30)
async def test_while_the_store_is_away_it_waits_and_acknowledges_nothing(
    pytestconfig: pytest.Config, own_mongo: Mongo, tmp_path: Path
) -> None:
    async with a_world(pytestconfig, own_mongo, tmp_path) as world:
        writer = Writer(world.log)
        await writer.turn()
        with world.faust():
            wanted = await folded(world.log, tmp_path / "one")
            await until(lambda: equal(world.store, wanted), 60)
            await until(lambda: committed_all(world.log), 20)
            ends = await world.log.ends(places(world.log, AREAS))
            own_mongo.kill()
            await writer.turn()
            await until(lambda: world.told("faust waits"), 60)
            await writer.turn()
            # It waits 500 ms before each attempt, and commits each second.
            await until(lambda: len(world.told("faust waits")) > 5, 60)
            committed = await world.log.committed(FAUST, places(world.log, AREAS))
            assert {place: at.offset for place, at in committed.items()} == {
                place: end for place, end in ends.items() if end
            }
            own_mongo.start()
            wanted = await folded(world.log, tmp_path / "two")
            await until(lambda: equal(world.store, wanted), 60)
            assert world.counts()[1] == 0


async def committed_all(log: Log, besides: TopicPartition | None = None) -> bool:
    watched = [place for place in places(log, AREAS) if place != besides]
    ends = await log.ends(watched)
    committed = await log.committed(FAUST, watched)
    return {place: at.offset for place, at in committed.items()} == {
        place: end for place, end in ends.items() if end
    }


@contextlib.asynccontextmanager
async def traffic(writer: Writer) -> AsyncIterator[None]:
    """Turn after turn, at a pace that Faust can keep; now and then partitions change hands."""
    going = True

    async def write() -> None:
        while going:
            await writer.turn()
            if random.random() < 0.1:
                await writer.hand_over()
            await asyncio.sleep(0.1)

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        going = False
        await writing


async def killed_under_traffic(world: World, writer: Writer) -> int:
    """How many gaps Faust counted, killed at some moment of its work, and started again behind it."""
    gaps = 0
    async with traffic(writer):
        for _ in range(KILLS):
            with world.faust():
                await until(lambda: world.counts()[0] > 100, 60)
                await asyncio.sleep(random.random())
                gaps += world.counts()[1]
    return gaps


@pytest.mark.long(12)
@pytest.mark.kill
@pytest.mark.timeout(240)
async def test_a_faust_killed_under_traffic_skips_nothing(world: World, tmp_path: Path) -> None:
    """No sweeper stands behind it, and no event of an aggregate comes without the one before it."""
    writer = Writer(world.log)
    gaps = await killed_under_traffic(world, writer)
    with world.faust():
        wanted = await folded(world.log, tmp_path / "fold")
        await until(lambda: equal(world.store, wanted), 60)
        assert gaps + world.counts()[1] == 0


@pytest.mark.long(22)
@pytest.mark.kill
@pytest.mark.timeout(240)
async def test_partitions_that_move_to_another_node_and_back_lose_nothing(
    world: World, tmp_path: Path
) -> None:
    """The other one joins under traffic, and is killed."""
    writer = Writer(world.log)
    with world.faust():
        async with traffic(writer):
            await until(lambda: world.counts()[0] > 100, 60)
            with world.faust("two"):
                await until(lambda: world.counts("two")[0] > 100, 90)
                gaps = world.counts("two")[1]
        wanted = await folded(world.log, tmp_path / "fold")
        await until(lambda: equal(world.store, wanted), 60)
        assert gaps + world.counts()[1] == 0


@pytest.mark.long(17)
@pytest.mark.kill
@pytest.mark.timeout(240)
async def test_the_sweeper_repairs_what_a_killed_faust_skipped(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = Writer(world.log)
    sweeper = Projector(world.store, EVENTS, VIEWS, (), sweeping=True)
    follower = Follower(world.log, "sweeper", AREAS, "one", sweeper.handle, behind=2.0)
    sweeping = asyncio.create_task(follower.run())
    gaps = await killed_under_traffic(world, writer)
    ends = await world.log.ends(places(world.log, AREAS))
    await until(lambda: all(follower.positions.get(p, 0) >= end for p, end in ends.items()), 60)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    with capsys.disabled():
        told = f"{writer.written} events; Faust left {gaps} gaps; the sweeper wrote {sweeper.applied} times"
        sys.stdout.write(f"\n{told}\n")

    assert await documents(world.store) == await folded(world.log, tmp_path / "fold")
