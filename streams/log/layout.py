"""How many partitions the log has, and which of them a key lives in: for ever, from the log's first start on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from aiokafka.partitioner import murmur2


@dataclass(frozen=True, slots=True)
class Layout:
    """So many `partitions` of every topic that goes by key."""

    partitions: int = 24

    def partition_of(self, key: str) -> int:
        """murmur2(key) mod partitions, with Kafka's sign mask."""
        return _hashed(key) % self.partitions


@lru_cache(maxsize=262_144)
def _hashed(key: str) -> int:
    return int(murmur2(key.encode()) & 0x7FFFFFFF)
