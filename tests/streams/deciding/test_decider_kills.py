"""kill -9 of a process with a decider and its callers, on the embedded log: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
import pytest

from streams.log.envelope import Reply
from streams.log.sqlite.log import SqliteLog
from tests.streams.counter import Add
from tests.streams.harness import AREA_TOPICS, Node, agree, decisions, result, totals, until, worker
from tests.streams.worker import COUNTERS, Answered

KILLS = 5


def answered(replies: Path) -> dict[str, Reply]:
    """The replies that callers were given; the last line may have been cut by the kill."""
    lines = replies.read_bytes().split(b"\n")[:-1] if replies.exists() else []
    return {a.id: a.reply for a in (msgspec.json.decode(line, type=Answered) for line in lines)}


@pytest.mark.kill
async def test_no_acknowledged_command_is_lost_when_the_process_is_killed_at_any_point(
    tmp_path: Path,
) -> None:
    path, replies = tmp_path / "log.db", tmp_path / "replies"
    for run in range(KILLS):
        before = len(answered(replies))
        more = random.randint(1, 300)
        with worker(str(path), "one", str(replies), str(run)):
            await until(lambda goal=before + more: len(answered(replies)) >= goal, 30)  # type: ignore[misc]

    log = SqliteLog(path)
    await log.start()
    await log.ensure(AREA_TOPICS)
    async with Node(log) as node:
        ends = await asyncio.gather(*(node.ask(Add(counter=c, amount=1), f"end-{c}") for c in COUNTERS))
    valid = await decisions(log, *(f"counter|{c}" for c in COUNTERS))
    await log.close()

    agree(valid, answered(replies))
    sums = totals(valid)
    assert [result(reply) for reply in ends] == [sums[f"counter|{c}"] for c in COUNTERS]
