"""The embedded log as another process sees it that holds it not: all that was committed when it was opened.

The holder goes on writing meanwhile. Nothing is written here, not even a lock, and no member joins a group.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from projections.store.sqlite_file import DamagedFileError, connect_to_read
from streams.log import (
    Listener,
    LogDamagedError,
    LogError,
    Member,
    Position,
    Record,
    TopicPartition,
    TopicSpec,
)
from streams.log.sqlite.log import SqliteLog


class SqliteLogBeside(SqliteLog):
    """As `SqliteLog`, to be read only. Raises what that does; LogError for what would write."""

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._look)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="log-reader")
        self._open = True

    async def close(self) -> None:
        if self._open:
            self._open = False
            await asyncio.to_thread(self._readers.shutdown)
            self._let_go()

    def _let_go(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._tally.close()

    def _look(self) -> None:
        try:
            connection = self._connect()
            self._tally.verify(connection)
            self._load(connection)
        except (sqlite3.Error, OSError, UnicodeDecodeError, DamagedFileError, LogDamagedError) as error:
            self._let_go()
            raise self._translated("opened", error) from error

    def _connect(self) -> sqlite3.Connection:
        connection = connect_to_read(self._path, self._timeout)
        self._connections.append(connection)
        return connection

    async def ensure(self, topics: Sequence[TopicSpec]) -> None:
        self._refuse()

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        self._refuse()

    async def append_patiently(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        self._refuse()

    async def commit(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        self._refuse()

    def member(
        self, group: str, topics: Sequence[str], node: str, listener: Listener, gather: float = 0.0
    ) -> Member:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise LogError(f"the log {self._path} is only read here")
