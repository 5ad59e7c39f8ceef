"""A log and a read store on this machine's disk, and MQTT clients that see what the broker lets them see."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import aiomqtt
import pytest

from gateway.mqtt import Publisher
from projections.store.sqlite import SqliteReadStore
from streams.following.group import Group
from streams.log import Log
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import topics


class Seen(NamedTuple):
    topic: str
    payload: object
    retained: bool
    event_id: str


class Ear:
    """Everything that one user's subscription brings, in order."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client

    async def until(self, last: Callable[[Seen], bool]) -> list[Seen]:
        """What came up to and including the first message that fits."""
        seen: list[Seen] = []
        async with asyncio.timeout(20):
            async for message in self._client.messages:
                payload = message.payload
                assert isinstance(payload, bytes)
                user = dict(getattr(message.properties, "UserProperty", []))
                one = Seen(
                    message.topic.value,
                    json.loads(payload) if payload else None,
                    bool(message.retain),
                    user.get("event_id", ""),
                )
                seen.append(one)
                if last(one):
                    return seen
        raise AssertionError("the broker closed the connection")


def client(url: str, **options: str) -> aiomqtt.Client:
    user, _, rest = url.removeprefix("mqtt://").partition(":")
    password, _, where = rest.partition("@")
    host, _, port = where.partition(":")
    return aiomqtt.Client(
        host,
        int(port),
        username=user,
        password=password,
        protocol=aiomqtt.ProtocolVersion.V5,
        **options,  # type: ignore[arg-type]
    )


class Choosy(aiomqtt.Client):
    """Takes a message as the library does, but for the network: a topic with a wildcard is a ValueError."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 1)
        self.taken: list[tuple[str, bytes]] = []

    async def publish(self, topic: str, payload: Any = b"", *_: Any, **__: Any) -> None:
        if "+" in topic:
            raise ValueError("Publish topic cannot contain wildcards.")
        self.taken.append((topic, payload))


@contextlib.asynccontextmanager
async def listening(url: str, *filters: str) -> AsyncIterator[Ear]:
    async with client(url) as connected:
        for one in filters:
            await connected.subscribe(one, qos=1)
        yield Ear(connected)


@contextlib.asynccontextmanager
async def running(work: Coroutine[object, object, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def telling(log: Log, publisher: Publisher) -> AsyncIterator[None]:
    """A publisher, and the group that gives it facts."""
    async with (
        running(publisher.run()),
        running(Group(log, "effects", "one", [publisher.sink]).run()),
    ):
        yield


async def eventually(fact: Callable[[], bool]) -> None:
    """Returns once the fact holds; fails after 60 s."""
    async with asyncio.timeout(60):
        while True:
            if fact():
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    yield log
    await log.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteReadStore]:
    store = SqliteReadStore(tmp_path / "store")
    yield store
    await store.close()
