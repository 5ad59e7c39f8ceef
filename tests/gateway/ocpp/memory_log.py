"""A log in memory with one partition a topic's number, as far as readings beside the events need one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streams.log import Record, Stored, TopicPartition
from streams.log.layout import Layout


class MemoryLog:
    """`records` may be repeated and cut by who tests; `now_ms` is the log's clock."""

    def __init__(self) -> None:
        self.records: dict[TopicPartition, list[Stored]] = {}
        self.now_ms = 0
        self.reads = 0
        self.layout = Layout()

    async def append_patiently(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        place = TopicPartition(topic, partition)
        held = self.records.setdefault(place, [])
        offsets = []
        for one in records:
            offsets.append(len(held))
            held.append(Stored(topic, partition, len(held), self.now_ms, one.key, one.value, one.headers))
        return offsets

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {place: len(self.records.get(place, ())) for place in places}

    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(places, 0)

    def reader(self, gather: float = 0.0) -> Any:
        return _Reader(self)


class _Reader:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._at: dict[TopicPartition, int] = {}

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._at = dict(positions)

    async def poll(self, timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[Stored]]:
        out = {}
        for place, at in self._at.items():
            found = self._log.records.get(place, [])[at : at + limit]
            if found:
                self._log.reads += len(found)
                out[place] = found
                self._at[place] = found[-1].offset + 1
        return out

    async def position(self, place: TopicPartition) -> int:
        return self._at[place]

    async def close(self) -> None:
        """Nothing is held."""
