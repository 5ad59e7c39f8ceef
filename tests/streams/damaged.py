"""An embedded log that is opened anew, and damaged in between."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from streams.log import TopicPartition
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import topics


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(path)
    await log.start()
    await log.ensure(topics(Layout()))
    try:
        yield log
    finally:
        await log.close()


def damage(path: Path, place: TopicPartition, offset: int) -> None:
    """Another value stands in one record of a log that is closed."""
    connection = sqlite3.connect(path)
    of = "topic = (SELECT id FROM topics WHERE name = ?) AND partition = ? AND offset = ?"
    changed = sum(
        connection.execute(f"UPDATE {table} SET value = x'00' WHERE {of}", (*place, offset)).rowcount  # noqa: S608
        for table in ("log", "newest")
    )
    connection.commit()
    connection.close()
    assert changed == 1
