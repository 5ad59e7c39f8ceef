"""A process with a decider, to be killed and stopped: `python -m tests.streams.worker LOG NODE [REPLIES RUN]`.

LOG is the path of a SQLite log, or `kafka:host:port`. With REPLIES it asks for additions without end, and each reply
that it was given stands in that file, a JSON line with its command id, before the next is asked for.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from typing import IO

import msgspec

from streams.deciding.channel import Channel, LocalChannel, LogChannel
from streams.log import Log
from streams.log.envelope import Reply
from streams.log.kafka.log import KafkaLog
from streams.log.sqlite.log import SqliteLog
from tests.streams.counter import Add
from tests.streams.harness import AREA_TOPICS, Node, insist

COUNTERS = tuple(f"k{i}" for i in range(8))
SESSION_TIMEOUT = 2.0


class Answered(msgspec.Struct):
    id: str
    reply: Reply


async def ask_on(node: Node, counter: str, run: str, out: IO[bytes]) -> None:
    for number in itertools.count():
        id = f"{counter}-{run}-{number}"
        reply = await insist(node.bus, Add(counter=counter, amount=1), id)
        out.write(msgspec.json.encode(Answered(id, reply)) + b"\n")


def opened(path: str) -> IO[bytes]:
    return Path(path).open("ab", buffering=0)


async def main(where: str, name: str, *traffic: str) -> None:
    log: Log
    channel: Channel
    if where.startswith("kafka:"):
        log = KafkaLog(where.removeprefix("kafka:"), session_timeout=SESSION_TIMEOUT)
        channel = LogChannel(name, log)
    else:
        log = SqliteLog(Path(where))
        channel = LocalChannel(name)
    await log.start()
    await log.ensure(AREA_TOPICS)
    async with asyncio.TaskGroup() as group, Node(log, name, channel=channel, checkpoint_every=0.05) as node:
        group.create_task(channel.run())
        if traffic:
            replies, run = traffic
            out = opened(replies)
            for counter in COUNTERS:
                group.create_task(ask_on(node, counter, run, out))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
