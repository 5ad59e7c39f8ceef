"""The public topics in memory, as far as a fan-out reads them, and a listener that keeps what it heard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from application.live.events import LiveEvent, Wanted
from application.live.fanout import Fanout
from application.live.subscription import Bounds
from streams.log import Log, LogDamagedError, LogShortenedError, LogUnavailableError, Stored, TopicPartition
from streams.log.layout import Layout
from streams.log.topology import PUBLIC


def headers(id: str, ce_type: str, tenant: str) -> tuple[tuple[str, bytes], ...]:
    """Those of CloudEvents' binary mode over Kafka."""
    named = {
        "ce_specversion": "1.0",
        "ce_id": id,
        "ce_type": ce_type,
        "ce_source": "/chargesphere/session",
        "ce_subject": id,
        "ce_time": "2026-03-01T12:00:00.000Z",
        "content-type": "application/json",
    }
    named |= {"ce_tenantid": tenant} if tenant else {}
    return tuple((name, value.encode()) for name, value in named.items())


class PublicLog:
    """`readers` counts those that were made, and `open_readers` those that are not closed; `away` refuses everything.

    Readers whose number is in `held` get nothing for a while. The record that is `damaged` cannot be read.
    """

    def __init__(self, partitions: int = 2) -> None:
        self.layout = Layout(partitions)
        self.records: dict[TopicPartition, list[Stored]] = {
            place: [] for topic in PUBLIC.values() for place in self.places(topic)
        }
        self.begins: dict[TopicPartition, int] = dict.fromkeys(self.records, 0)
        self.readers = 0
        self.open_readers = 0
        self.read = 0
        self.most_at_once = 500
        self.away = False
        self.held: set[int] = set()
        self.damaged: tuple[TopicPartition, int] | None = None
        self.grown = asyncio.Event()
        self._numbers = 0

    def places(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(self.layout.partitions)]

    def tell(
        self,
        tenant: str = "demo",
        topic: str = "sessions",
        partition: int = 0,
        *,
        ce_type: str = "chargesphere.session.started.v1",
        charge_point_id: str | None = "CP-1",
        size: int = 0,
    ) -> str:
        """One record more; its `ce_id`."""
        place = TopicPartition(PUBLIC[topic], partition)
        self._numbers += 1
        id = f"{tenant}|{self._numbers}"
        value = msgspec.json.encode({"charge_point_id": charge_point_id, "filler": "x" * size})
        offset = self.begins[place] + len(self.records[place])
        self.records[place].append(
            Stored(*place, offset, 0, id.encode(), value, headers(id, ce_type, tenant))
        )
        self.wake()
        return id

    def wake(self) -> None:
        """Whoever waits looks again."""
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()

    def forget(self, place: TopicPartition, before: int) -> None:
        """Retention takes what stands before this offset."""
        del self.records[place][: before - self.begins[place]]
        self.begins[place] = before

    async def ends(self, places: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        await self._asked()
        return {place: self.begins[place] + len(self.records[place]) for place in places}

    async def beginnings(self, places: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        await self._asked()
        return {place: self.begins[place] for place in places}

    def reader(self, gather: float = 0.0) -> Any:
        self.readers += 1
        self.open_readers += 1
        return _Reader(self)

    async def _asked(self) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise LogUnavailableError("the log is away")

    @property
    def as_log(self) -> Log:
        return cast(Log, self)


class _Reader:
    def __init__(self, log: PublicLog) -> None:
        self._log = log
        self._number = log.readers
        self._at: dict[TopicPartition, int] = {}

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._at = dict(positions)

    async def poll(self, timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[Stored]]:
        log = self._log
        await asyncio.sleep(0)
        while True:
            grown = log.grown
            found: dict[TopicPartition, Sequence[Stored]] = {}
            while self._number in log.held:
                await log.grown.wait()
            for place, at in self._at.items():
                first, held = log.begins[place], log.records[place]
                if at > first + len(held):
                    self._at[place] = first + len(held)
                    raise LogShortenedError(frozenset([place]))
                if some := held[max(0, at - first) :][: log.most_at_once]:
                    if log.damaged in [(place, stored.offset) for stored in some]:
                        raise LogDamagedError(f"{place} cannot be read from {at} on")
                    found[place] = some
            if found:
                for place, batch in found.items():
                    self._at[place] = batch[-1].offset + 1
                    log.read += len(batch)
                return found
            await grown.wait()

    async def position(self, place: TopicPartition) -> int:
        return self._at[place]

    async def close(self) -> None:
        self._log.open_readers -= 1


class Listener:
    """Hears everything at once, or when it is told to `take`."""

    def __init__(self, fanout: Fanout, wanted: Wanted) -> None:
        self._fanout = fanout
        self._wanted = wanted
        self.events: list[LiveEvent] = []
        self.last: str | None = None

    async def begin(self, since: str | None = None) -> Listener:
        self.subscription = await self._fanout.subscribe(self._wanted, since)
        return self

    async def take(self) -> Sequence[LiveEvent]:
        """What waits, or comes next, within 5 s."""
        found = await self.subscription.next(5.0)
        self.events.extend(found)
        if found:
            self.last = found[-1].id
        return found

    async def hear(self, *ids: str) -> None:
        """Take until these were heard."""
        while not set(ids) <= set(self.ids):
            assert await self.take(), f"{ids} were not told, only {self.ids}"

    @property
    def ids(self) -> list[str]:
        """Of the public events that it heard."""
        return [ce_id(event) for event in self.events if ce_id(event)]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


def ce_id(event: LiveEvent) -> str:
    return str(msgspec.json.decode(event.data).get("id", ""))


async def listener(
    fanout: Fanout, tenant: str = "demo", *types: str, since: str | None = None, **more: Any
) -> Listener:
    return await Listener(fanout, Wanted(tenant, frozenset(types), people=True, **more)).begin(since)


def fanout_of(log: PublicLog, linger: float = 0.0, **bounds: int) -> Fanout:
    return Fanout(log.as_log, Bounds(**bounds, apart=0.0, linger=linger))
