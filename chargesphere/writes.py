"""Whether what was written last was kept: the log and the read store of a process, with the outcome of their writes.

A disk that is full lets everything be read and nothing be written. The newest failure stands until a write succeeds;
while nothing else writes, `probe` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from projections.store import Applied, PositionKey, ReadStore, StoreUnavailableError, Write
from projections.store.generations import GenerationStore
from projections.store.mongo import MongoReadStore
from projections.store.sqlite import SqliteReadStore
from streams.log import Log, LogUnavailableError, Record
from streams.log.kafka.log import KafkaLog
from streams.log.sqlite.beside import SqliteLogBeside
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import REPLIES

logger = logging.getLogger(__name__)

PROBE_SECONDS = 2.0
PROBE = Record(None, None, (("probe", bytes(65_536)),))
"""Readers of replies skip what is empty. Its size is what a full disk has no room for."""
PLACE = PositionKey("write-probe", "probe", 0)


class Writes:
    """The newest outcome: `failure` is empty, or why it failed. One line when it changes."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.failure = ""

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Around a write."""
        try:
            yield
        except (LogUnavailableError, StoreUnavailableError) as error:
            if not self.failure:
                logger.error(
                    "the %s cannot be written: %s; this process is not ready until it can", self._what, error
                )
            self.failure = str(error)
            raise
        if self.failure:
            self.failure = ""
            logger.warning("the %s can be written again", self._what)

    def check(self) -> None:
        """Raises OSError with the newest failure."""
        if self.failure:
            raise OSError(self.failure)


class _NotedLog(Log):
    """Before an adapter: the outcome of its appends."""

    @cached_property
    def writes(self) -> Writes:
        return Writes("log")

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        with self.writes.noted():
            return await super().append(topic, partition, records)  # type: ignore[safe-super]

    async def append_patiently(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        with self.writes.noted():
            return await super().append_patiently(topic, partition, records)


class _NotedStore(ReadStore):
    """Before an adapter: the outcome of its writes."""

    @cached_property
    def writes(self) -> Writes:
        return Writes("read store")

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        with self.writes.noted():
            return await super().apply(writes, positions)  # type: ignore[safe-super]


class EmbeddedLog(_NotedLog, SqliteLog):
    """The log in the data folder."""


class LogBeside(_NotedLog, SqliteLogBeside):
    """The log in the data folder, read beside the process that holds it."""


class SharedLog(_NotedLog, KafkaLog):
    """The log on Kafka."""


class _EmbeddedFiles(_NotedStore, SqliteReadStore):
    """Every generation of the read models in the data folder."""


class _SharedDatabases(_NotedStore, MongoReadStore):
    """Every generation of the read models in MongoDB."""


class WatchedStore(GenerationStore):
    """The read models of a process, and the outcome of their `writes`."""

    def __init__(self, inner: _EmbeddedFiles | _SharedDatabases) -> None:
        super().__init__(inner)
        self.writes = inner.writes


def embedded_store(folder: Path) -> WatchedStore:
    """The read models in the data folder."""
    return WatchedStore(_EmbeddedFiles(folder))


def shared_store(url: str, database_prefix: str = "") -> WatchedStore:
    """The read models in MongoDB."""
    return WatchedStore(_SharedDatabases(url, database_prefix=database_prefix))


async def probe(log: EmbeddedLog | SharedLog, store: WatchedStore, every: float = PROBE_SECONDS) -> None:
    """Try a write now and then while the newest one failed; until cancelled."""
    while True:
        await asyncio.sleep(every)
        if log.writes.failure:
            with contextlib.suppress(LogUnavailableError):
                await log.append(REPLIES, 0, [PROBE])
        if store.writes.failure:
            with contextlib.suppress(StoreUnavailableError):
                await store.apply((), {PLACE: 1})
