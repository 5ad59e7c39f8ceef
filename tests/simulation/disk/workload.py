"""One life of an embedded installation, all parts at once; what is asked and acknowledged stands in the recording.

Two starts and two clean ends; between them appends of several writers, a compacted topic with deletions, a topic that
is swept, positions, read models with their positions, and texts sealed under keys that are made on the way.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

from application.vault import StoreKeys, Vault
from projections.store import JSON, PositionKey, Put, Remove, geo_index, index
from projections.store.sqlite import SqliteReadStore
from streams.log import Position, Record, TopicPartition, TopicSpec
from streams.log.sqlite.log import SqliteLog
from tests.simulation.disk.recording import Recording
from tests.streams.log_contract import Told

MASTER = b"m" * 32
GROUP = "followers"
PROJECTOR = "projector"
EVENTS, STATE, FRAMES = "events", "state", "frames"
TOPICS = (TopicSpec(EVENTS, 3), TopicSpec(STATE, 2, compacted=True), TopicSpec(FRAMES, 1, retention_ms=1))
PLACES = tuple(TopicPartition(spec.name, number) for spec in TOPICS for number in range(spec.partitions))
POSITION = PositionKey(PROJECTOR, EVENTS, 0)
DATABASES = ("ocpp_a", "ocpp_b")


def document(db: str, number: int) -> Put | Remove:
    """Document `number` of a database; every seventh takes its forerunner away."""
    if number % 7 == 6:
        return Remove(db, "sessions", f"d{number - 1}", number)
    body: dict[str, JSON] = {
        "number": number,
        "text": f"{db} {number}",
        "geo": {"type": "Point", "coordinates": [number / 8, 0.5]},
    }
    return Put(db, "sessions", f"d{number}", number, body)


async def live(
    data: Path,
    recording: Recording,
    seed: int,
    *,
    first: int = 0,
    rounds: int = 2,
    steps: int = 12,
    before_the_end: Callable[[], None] = lambda: None,
) -> None:
    """Run it; each of its tasks takes `steps` steps a round. `first`: the number of the first document."""
    chance, numbers = random.Random(seed), count(first * 1000)
    for turn in range(rounds):
        await _round(data, recording, chance, numbers, first + turn * steps, steps, before_the_end)


async def _round(
    data: Path,
    recording: Recording,
    chance: random.Random,
    numbers: Iterator[int],
    first: int,
    steps: int,
    before_the_end: Callable[[], None],
) -> None:
    documents_made = count(first)
    log = SqliteLog(data / "log.db", sweep_seconds=0.001)
    store = SqliteReadStore(data / "read")
    await log.start()
    await log.ensure(TOPICS)
    recording.acknowledged("topics")
    await store.ensure([index(db, "sessions", "number") for db in DATABASES])
    await store.ensure([geo_index(DATABASES[0], "sessions")])
    vault = Vault(MASTER, StoreKeys(store))
    member = log.member(GROUP, [EVENTS], "n1", Told())
    await member.start()

    def value(size: int) -> bytes:
        return b"%d " % next(numbers) + b"x" * chance.randrange(size)

    async def append(topic: str, partition: int, records: list[Record]) -> None:
        recording.asked("append", topic, partition, records)
        offsets = await log.append(topic, partition, records)
        recording.acknowledged("append", topic, partition, dict(zip(offsets, records, strict=True)))

    async def events(partition: int) -> None:
        records = [Record(b"k", value(900), (("h", b"1"),)) for _ in range(chance.randrange(1, 4))]
        await append(EVENTS, partition, records)

    async def states() -> None:
        keys = [b"key %d" % chance.randrange(6) for _ in range(3)]
        records = [Record(key, None if chance.random() < 0.2 else value(700)) for key in keys]
        await append(STATE, chance.randrange(2), records)

    async def frames() -> None:
        await append(FRAMES, 0, [Record(None, value(300))])

    async def sealed() -> None:
        subject = f"subject{next(numbers)}"
        text = await vault.seal(subject, subject)
        await append(EVENTS, 0, [Record(b"sealed", text.encode())])

    async def positions() -> None:
        for place, records in (await member.poll(0.2)).items():
            position = Position(records[-1].offset + 1, str(next(numbers)))
            recording.asked("position", place, position)
            await member.commit({place: position})
            recording.acknowledged("position", place, position)

    async def documents() -> None:
        number = next(documents_made)
        recording.asked("document", number)
        await store.apply([document(db, number) for db in DATABASES], {POSITION: number})
        recording.acknowledged("document", number)

    tasks: list[Callable[[], Awaitable[None]]] = [
        *(lambda n=n: events(n) for n in range(3)), states, frames, sealed, positions, documents
    ]  # fmt: skip

    async def repeat(task: Callable[[], Awaitable[None]]) -> None:
        for _ in range(steps):
            await task()

    await asyncio.gather(*(repeat(task) for task in tasks))
    before_the_end()
    await member.close()
    await log.close()
    await store.close()
