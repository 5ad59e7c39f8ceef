"""Replies over the log reach who waits, whatever stands beside them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from streams.deciding.channel import LogChannel
from streams.log import Record
from streams.log.envelope import Reply
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import DOWNLINKS, REPLIES, topics


async def test_a_damaged_reply_costs_no_other_one_its_way(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    here, there = LogChannel("here", log), LogChannel("there", log)
    task = asyncio.create_task(here.run())
    await here.ready.wait()
    to, future = here.expect()
    await log.append(REPLIES, here.slot, [Record(None, b"no json"), Record(None, None), Record(None, b"{}")])
    await log.append(DOWNLINKS, here.slot, [Record(None, b"[" * 100_000)])
    there.reply(to, Reply(aggregate="a", version=3))
    async with asyncio.timeout(20):
        assert (await future).version == 3
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await log.close()
