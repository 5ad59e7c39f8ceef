"""Replies and downlinks on their way back to the node that holds the caller or the connection.

A node has a slot (a partition of the replies and downlinks topics, from a hash of its name) and a boot id, new at
every start. Two nodes may share a slot: a message for another boot is dropped, so sharing costs traffic only.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import msgspec

from commands.base import Downlink
from streams.log import Log, LogError, LogUnavailableError, Record, Stored, TopicPartition
from streams.log.batching import append_all
from streams.log.envelope import Reply, ReplyTo, encode
from streams.log.topology import DOWNLINKS, REPLIES

logger = logging.getLogger(__name__)

QUIET_SECONDS = 10.0
"""How long is waited for a message at once."""

Deliver = Callable[[Downlink], Awaitable[None]]


class Channel(ABC):
    """One node's end: asks are registered here, replies and downlinks are sent from here and arrive here."""

    def __init__(self, node: str, slot: int) -> None:
        self.node = node
        self.slot = slot
        self.boot = secrets.token_hex(8)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._numbers = itertools.count(1)
        self._deliver: Deliver | None = None

    def expect(self) -> tuple[ReplyTo, asyncio.Future[Reply]]:
        """A return address and the future that its reply will complete."""
        number = next(self._numbers)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        future.add_done_callback(lambda _: self._waiting.pop(number, None))
        return ReplyTo(self.slot, self.boot, number), future

    def on_downlink(self, deliver: Deliver) -> None:
        """Who takes the downlinks that arrive for this boot."""
        self._deliver = deliver

    def arrived(self, to: ReplyTo, reply: Reply) -> None:
        if to.boot != self.boot:
            return
        future = self._waiting.get(to.number)
        if future is not None and not future.done():
            future.set_result(reply)

    async def landed(self, downlink: Downlink) -> None:
        if downlink.boot == self.boot and self._deliver is not None:
            await self._deliver(downlink)

    @abstractmethod
    async def run(self, *, downlinks: bool = True) -> None:
        """Receive until cancelled; replies alone where nobody takes downlinks."""

    @abstractmethod
    def reply(self, to: ReplyTo, reply: Reply) -> None:
        """Send a reply; best effort: who gets none asks again with the same command id."""

    @abstractmethod
    def downlink(self, downlink: Downlink) -> None:
        """Send a downlink; best effort: its command times out where it is lost."""


class LocalChannel(Channel):
    """Everything in one process."""

    def __init__(self, node: str) -> None:
        super().__init__(node, 0)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, *, downlinks: bool = True) -> None:
        await asyncio.Event().wait()

    def reply(self, to: ReplyTo, reply: Reply) -> None:
        self.arrived(to, reply)

    def downlink(self, downlink: Downlink) -> None:
        task = asyncio.create_task(self.landed(downlink))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _ReplyRecord(msgspec.Struct, frozen=True):
    to: ReplyTo
    reply: Reply


class LogChannel(Channel):
    """Over the replies and downlinks topics; sends what has gathered in one append per slot."""

    def __init__(self, node: str, log: Log) -> None:
        super().__init__(node, log.layout.partition_of(node))
        self._log = log
        self._out: dict[TopicPartition, list[Record]] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._replies = msgspec.json.Decoder(_ReplyRecord)
        self._downlinks = msgspec.json.Decoder(Downlink)

    @property
    def ready(self) -> asyncio.Event:
        """Set once messages for this boot are being read."""
        return self._ready

    async def run(self, *, downlinks: bool = True) -> None:
        places = [TopicPartition(topic, self.slot) for topic in (REPLIES, DOWNLINKS)[: 1 + downlinks]]
        reader = self._log.reader()
        try:
            while True:
                with contextlib.suppress(LogUnavailableError):
                    await reader.assign(await self._log.ends(places))
                    break
                await asyncio.sleep(0.2)
            self._ready.set()
            while True:
                try:
                    batches = await reader.poll(QUIET_SECONDS, 2000)
                except LogUnavailableError as error:
                    logger.warning("replies: %s", error)
                    await asyncio.sleep(0.2)
                    continue
                for place, batch in batches.items():
                    for stored in batch:
                        await self._take(place, stored)
        finally:
            await reader.close()

    async def _take(self, place: TopicPartition, stored: Stored) -> None:
        """One that cannot be taken is left out: whoever waits for it asks again, or gives up in time."""
        if stored.value is None:
            return
        try:
            if place.topic == REPLIES:
                message = self._replies.decode(stored.value)
                self.arrived(message.to, message.reply)
            else:
                await self.landed(self._downlinks.decode(stored.value))
        except Exception:
            logger.exception("%s[%d]@%d was not taken", place.topic, place.partition, stored.offset)

    def reply(self, to: ReplyTo, reply: Reply) -> None:
        if to.boot == self.boot:
            self.arrived(to, reply)
        else:
            self._send(TopicPartition(REPLIES, to.slot), Record(None, encode(_ReplyRecord(to, reply))))

    def downlink(self, downlink: Downlink) -> None:
        self._send(TopicPartition(DOWNLINKS, downlink.slot), Record(None, encode(downlink)))

    def _send(self, place: TopicPartition, record: Record) -> None:
        self._out.setdefault(place, []).append(record)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self._out:
            out, self._out = self._out, {}
            try:
                await asyncio.gather(
                    *(append_all(self._log, p.topic, p.partition, r) for p, r in out.items())
                )
            except LogError as error:
                logger.warning("replies and downlinks were not sent: %s", error)
