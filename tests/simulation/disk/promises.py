"""What must hold of the files that a power loss left, given what was asked and acknowledged by then."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from application.vault import StoreKeys, Vault
from projections.store import Query, Remove
from projections.store.sqlite import SqliteReadStore
from streams.log import Position, Record, Stored, TopicPartition
from streams.log.sqlite.log import SqliteLog
from tests.simulation.disk.recording import Fact
from tests.simulation.disk.workload import (
    DATABASES,
    FRAMES,
    GROUP,
    MASTER,
    PLACES,
    POSITION,
    PROJECTOR,
    STATE,
    TOPICS,
    document,
)  # fmt: skip


class Story:
    """The facts up to the power loss."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.topics = False
        self.kept: defaultdict[TopicPartition, dict[int, Record]] = defaultdict(dict)
        self.asked: defaultdict[TopicPartition, set[Record]] = defaultdict(set)
        self.under_way: defaultdict[TopicPartition, Counter[Record]] = defaultdict(Counter)
        self.position: dict[TopicPartition, Position] = {}
        self.positions_since: defaultdict[TopicPartition, set[Position]] = defaultdict(set)
        self.documents: set[int] = set()
        self.documents_under_way: set[int] = set()
        for fact in facts:
            self._take(fact)

    @property
    def acknowledged(self) -> int:
        return sum(map(len, self.kept.values())) + len(self.position) + len(self.documents)

    def _take(self, fact: Fact) -> None:
        match (fact.kind, *fact.what):
            case ("topics",):
                self.topics = True
            case ("append", str(topic), int(partition), list(asked)):
                self.asked[TopicPartition(topic, partition)].update(asked)
                self.under_way[TopicPartition(topic, partition)].update(asked)
            case ("append", str(topic), int(partition), dict(kept)):
                self.kept[TopicPartition(topic, partition)].update(kept)
                self.under_way[TopicPartition(topic, partition)].subtract(kept.values())
            case ("position", place, position) if fact.acknowledged:
                self.position[place] = position
                self.positions_since[place] = {position}
            case ("position", place, position):
                self.positions_since[place].add(position)
            case ("document", int(number)) if fact.acknowledged:
                self.documents.add(number)
                self.documents_under_way.discard(number)
            case ("document", int(number)):
                self.documents_under_way.add(number)


async def broken(data: Path, story: Story) -> list[str]:
    """Each promise that the files in `data` break, as one line."""
    wrong: list[str] = []
    log = SqliteLog(data / "log.db")
    store = SqliteReadStore(data / "read")
    await log.start()
    try:
        if story.topics:
            try:
                log.partitions(TOPICS[-1].name)
            except Exception as error:
                return [f"acknowledged topics are gone: {error}"]
        await log.ensure(TOPICS)
        found = {place: await read_all(log, place) for place in PLACES}
        for place in PLACES:
            wrong.extend(await _of_log(log, place, found[place], story))
        wrong.extend(await _of_store(store, story))
        vault = Vault(MASTER, StoreKeys(store))
        for stored in found[PLACES[0]]:
            if stored.key == b"sealed":
                text = (stored.value or b"").decode()
                if await vault.open(text) != text.split(".")[1].encode():
                    wrong.append(f"{text[:20]} at offset {stored.offset} cannot be opened: its key is gone")
    finally:
        await log.close()
        await store.close()
    wrong.extend(await asyncio.to_thread(_structure, data))
    return wrong


def _structure(data: Path) -> list[str]:
    wrong: list[str] = []
    for path in sorted(data.rglob("*.db")):
        with sqlite3.connect(path) as connection:
            said = connection.execute("PRAGMA integrity_check").fetchall()
        connection.close()
        if said != [("ok",)]:
            wrong.append(f"{path.name}: {said}")
    return wrong


async def read_all(log: SqliteLog, place: TopicPartition) -> list[Stored]:
    """All records of a partition; the end of a compacted one may be a deletion, which is not there to be read."""
    end = (await log.ends([place]))[place]
    return await log.read_file(place, 0, end, end + 1)


async def _of_log(log: SqliteLog, place: TopicPartition, found: list[Stored], story: Story) -> list[str]:
    wrong: list[str] = []
    name, kept, asked = f"{place.topic}/{place.partition}", story.kept[place], story.asked[place]
    end, begin = (await log.ends([place]))[place], (await log.beginnings([place]))[place]
    if kept and end <= max(kept):
        wrong.append(
            f"{name}: offset {max(kept)} was acknowledged, the end is {end}: it would be given again"
        )
    there = {s.offset: Record(s.key, s.value, s.headers) for s in found}
    for offset, record in there.items():
        if offset in kept and kept[offset] != record:
            wrong.append(f"{name}: offset {offset} holds another record than was acknowledged")
        if record not in asked:
            wrong.append(f"{name}: offset {offset} holds what nobody appended")
    if place.topic == STATE:
        wrong.extend(_of_state(name, there, kept, +story.under_way[place]))
    else:
        first = begin if place.topic == FRAMES else 0
        wrong.extend(
            f"{name}: offset {offset} is lost" for offset in kept if offset >= first and offset not in there
        )
        if sorted(there) != list(range(first, end)):
            wrong.append(f"{name}: holes between {first} and {end}: {sorted(there)}")
    position = (await log.committed(GROUP, [place])).get(place)
    if position is not None and position.offset > end:
        wrong.append(f"{name}: the position {position.offset} is ahead of the end {end}")
    if place in story.position and position not in story.positions_since[place]:
        wrong.append(f"{name}: the position {story.position[place]} was acknowledged, {position} is there")
    return wrong


def _of_state(
    name: str, there: dict[int, Record], kept: dict[int, Record], under_way: Counter[Record]
) -> list[str]:
    wrong: list[str] = []
    newest: dict[bytes | None, tuple[int, Record]] = {}
    for offset in sorted(kept):
        newest[kept[offset].key] = (offset, kept[offset])
    for key, (offset, record) in newest.items():
        later = [at for at, held in there.items() if held.key == key]
        deleted_later = Record(key, None) in under_way
        if len(later) > 1:
            wrong.append(f"{name}: {key!r} is there {len(later)} times")
        elif later and later[0] < offset:
            wrong.append(f"{name}: {key!r} is that of offset {later[0]}, {offset} was acknowledged")
        elif not later and record.value is not None and not deleted_later:
            wrong.append(f"{name}: {key!r} of offset {offset} is lost")
    return wrong


async def _of_store(store: SqliteReadStore, story: Story) -> list[str]:
    wrong: list[str] = []
    position = (await store.positions(PROJECTOR)).get(POSITION, -1)
    newest = max(story.documents, default=-1)
    if position < newest:
        wrong.append(f"read store: position {newest} was acknowledged, {position} is there")
    behind = story.documents | ({position} & story.documents_under_way)
    for db in DATABASES:
        items = (await store.find(Query(db, "sessions", limit=500))).items
        there = {str(item["_id"]): item for item in items}
        for number in sorted(behind):
            write = document(db, number)
            held = there.get(write.id, {}).get("text")
            if isinstance(write, Remove):
                if held is not None:
                    wrong.append(f"{db}: {write.id} was removed and is back")
            elif held != f"{db} {number}" and not _removed_by(number + 1, story):
                wrong.append(f"{db}: {write.id} is missing behind position {position}")
    return wrong


def _removed_by(number: int, story: Story) -> bool:
    """Whether the next batch takes the document away, were it only asked for."""
    return number in story.documents | story.documents_under_way and isinstance(
        document(DATABASES[0], number), Remove
    )
