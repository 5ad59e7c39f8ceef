"""One connection to the broker that comes back by itself, for many messages at once.

What enters: a URL, batches of messages. What leaves: acknowledged messages. Whatever is to be sent goes out in one
write, in order, as far as the broker allows unacknowledged messages; acknowledgements are read in bulk. Nothing is
kept over a lost connection: who publishes tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from gateway.mqtt import packets
from gateway.mqtt.address import address
from gateway.mqtt.packets import MqttProtocolError, Outgoing, Packets, Welcome
from streams.follower import TransientError

logger = logging.getLogger(__name__)

IN_FLIGHT = 500
"""Unacknowledged messages at once, where the broker's Receive Maximum is not lower."""

PATIENCE = 10.0
"""Seconds for the broker to accept a connection, to acknowledge a message, to answer a ping."""

KEEP_ALIVE = 20
"""Seconds of silence after which the broker may take us for gone; we ping after half of them."""


class BrokerAway(TransientError):
    """The broker is not connected, or did not acknowledge in time: the message may or may not have arrived."""


class Broker(ABC):
    """Where messages go."""

    @abstractmethod
    async def publish(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        """Sends them in order and returns once the broker has acknowledged all (QoS 1); raises BrokerAway.

        Each event id is added to `acknowledged` as it comes, so that it need not be sent again after BrokerAway."""


@dataclass(slots=True, eq=False)
class _Batch:
    left: int
    acknowledged: set[str]
    done: asyncio.Future[None]


@dataclass(slots=True)
class _Sent:
    event_id: str
    batch: _Batch
    at: float


class Connection(Broker):
    """`run` until cancelled. `identifier` names us to the broker; without one it gives us a name."""

    def __init__(
        self,
        url: str,
        *,
        identifier: str = "",
        backoff_s: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        self.address = address(url)
        self._identifier = identifier
        self._backoff = backoff_s
        self._wire: Wire | None = None
        self.connected = asyncio.Event()
        self.away = asyncio.Event()
        self.away.set()
        self.counts = {"connects": 0, "losses": 0, "published": 0, "refused": 0}

    async def run(self) -> None:
        """Stay connected until cancelled."""
        shortest, longest = self._backoff
        wait, reported = shortest, ""
        while True:
            try:
                await self._serve()
            except (OSError, MqttProtocolError) as error:
                if self.connected.is_set():
                    self.counts["losses"] += 1
                    wait, reported = shortest, ""
                told = str(error) or type(error).__name__
                if told != reported:
                    reported = told
                    logger.warning("MQTT broker %s: %s; trying again", self.address, told)
            finally:
                self._wire = None
                self.connected.clear()
                self.away.set()
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)

    async def publish(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        wire = self._wire
        if wire is None:
            raise BrokerAway(f"the MQTT broker {self.address} is not connected")
        if messages:
            await wire.send(messages, acknowledged)

    async def _serve(self) -> None:
        """One connection from its beginning to its end, which raises."""
        loop = asyncio.get_running_loop()
        where = self.address
        wire = Wire(str(where), self.counts)
        try:
            async with asyncio.timeout(PATIENCE):
                tls = await asyncio.to_thread(ssl.create_default_context) if where.tls else None
                await loop.create_connection(lambda: wire, where.host, where.port, ssl=tls)
                wire.write(packets.connect(self._identifier, where.user, where.password, KEEP_ALIVE))
                welcome = await asyncio.shield(wire.welcome)
            await self._opened(wire, welcome)
        finally:
            wire.close()

    async def _opened(self, wire: Wire, welcome: Welcome) -> None:
        if welcome.reason >= packets.FAILED:
            why = f": {welcome.text}" if welcome.text else ""
            raise MqttProtocolError(f"it refuses us with reason {welcome.reason:#x}{why}")
        self._wire = wire
        self.counts["connects"] += 1
        self.away.clear()
        self.connected.set()
        logger.info("MQTT broker %s: connected", self.address)
        await wire.watch(KEEP_ALIVE if welcome.keep_alive is None else welcome.keep_alive)


class Wire(asyncio.Protocol):
    """One TCP connection to the broker: the window of messages under way, and the silence that ends it."""

    def __init__(self, name: str, counts: dict[str, int]) -> None:
        self._name = name
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self.welcome: asyncio.Future[Welcome] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._packets = Packets()
        self._waiting: deque[tuple[Outgoing, _Batch]] = deque()
        self._under_way: dict[int, _Sent] = {}
        self._window = IN_FLIGHT
        self._longest = 0
        self._mid = 0
        self._due = False
        self._written_at = time.monotonic()
        self._pinged_at: float | None = None

    # -- what the loop tells -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by their class

    def data_received(self, data: bytes) -> None:
        try:
            for kind, body in self._packets.feed(data):
                if kind == packets.PUBACK:
                    self._acknowledge(*packets.acknowledgement(body))
                else:
                    self._take(kind, body)
        except MqttProtocolError as error:
            self._end(error)
            return
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionResetError("it closed the connection"))

    # -- what the connection asks ------------------------------------------------------------------------------

    async def send(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        """Raises BrokerAway."""
        if self._lost.done():
            raise BrokerAway(f"the MQTT broker {self._name} went away")
        batch = _Batch(len(messages), acknowledged, self._loop.create_future())
        self._waiting.extend((message, batch) for message in messages)
        if not self._due:
            # What other publishers say in the same turn of the loop goes out in the same write.
            self._due = True
            self._loop.call_soon(self._send)
        await batch.done

    async def watch(self, keep_alive: int) -> None:
        """Returns never; raises the reason once the connection is lost, or the broker has been silent too long."""
        while True:
            done, _ = await asyncio.wait((self._lost,), timeout=1.0)
            if done:
                self._lost.result()
            now = time.monotonic()
            oldest = next(iter(self._under_way.values()), None)
            asked_at = self._pinged_at if oldest is None else oldest.at
            if asked_at is not None and now - asked_at > PATIENCE:
                if self._transport is not None:
                    self._transport.abort()  # what it does not read would keep the socket open
                raise TimeoutError(f"no answer in {PATIENCE:.0f} s")
            if keep_alive and self._pinged_at is None and now - self._written_at >= keep_alive / 2:
                self._pinged_at = now
                self.write(packets.PINGREQ_PACKET)

    def write(self, data: bytes) -> None:
        """Bytes to the broker, at once."""
        if self._transport is not None and not self._transport.is_closing():
            self._written_at = time.monotonic()
            self._transport.write(data)

    def close(self) -> None:
        """Whoever waits is told that the broker is away."""
        if not self._lost.done():
            self.write(packets.DISCONNECT_PACKET)
        self._end(ConnectionAbortedError("closed"))
        for future in (self._lost, self.welcome):
            future.exception()

    # -- messages ----------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """As much as the broker takes now, in one write."""
        self._due = False
        out: list[bytes] = []
        now = time.monotonic()
        while self._waiting and len(self._under_way) < self._window:
            message, batch = self._waiting.popleft()
            if batch.done.done():
                continue  # whoever sent it does not wait any more
            mid = self._next_mid()
            packet = packets.publish(message, mid)
            if len(packet) > self._longest:
                self._refused(
                    message.event_id, f"it has {len(packet)} bytes, the broker takes {self._longest}"
                )
                self._settle(message.event_id, batch)
                continue
            self._under_way[mid] = _Sent(message.event_id, batch, now)
            out.append(packet)
        if out:
            self.write(b"".join(out))

    def _acknowledge(self, mid: int, reason: int) -> None:
        sent = self._under_way.pop(mid, None)
        if sent is None:
            raise MqttProtocolError(f"it acknowledges {mid}, which was not sent")
        if reason == packets.QUOTA_EXCEEDED:
            self._fail(sent.batch, "takes no more for now")
            return
        if reason >= packets.FAILED:
            self._refused(sent.event_id, f"reason {reason:#x}")
        self._settle(sent.event_id, sent.batch)

    def _refused(self, event_id: str, why: str) -> None:
        """Sending it again would not help: it is said, and counts as told."""
        self._counts["refused"] += 1
        logger.error("the MQTT broker %s refuses message %s: %s", self._name, event_id, why)

    def _settle(self, event_id: str, batch: _Batch) -> None:
        self._counts["published"] += 1
        batch.acknowledged.add(event_id)
        batch.left -= 1
        if not batch.left and not batch.done.done():
            batch.done.set_result(None)

    def _fail(self, batch: _Batch, why: str) -> None:
        if not batch.done.done():
            batch.done.set_exception(BrokerAway(f"the MQTT broker {self._name} {why}"))

    def _take(self, kind: int, body: bytes) -> None:
        if kind == packets.PINGRESP:
            self._pinged_at = None
        elif kind == packets.DISCONNECT:
            raise MqttProtocolError(f"it ends the connection with reason {packets.reason(body):#x}")
        elif kind == packets.CONNACK and not self.welcome.done():
            welcome = packets.welcome(body)
            self._window = min(IN_FLIGHT, welcome.receive_maximum)
            self._longest = welcome.longest
            self.welcome.set_result(welcome)
        else:
            raise MqttProtocolError(f"it sends a packet of type {kind:#x}")

    def _next_mid(self) -> int:
        while True:
            self._mid = self._mid % packets.MOST + 1
            if self._mid not in self._under_way:
                return self._mid

    def _end(self, error: Exception) -> None:
        if self._lost.done():
            return
        if not isinstance(error, OSError | MqttProtocolError):
            error = ConnectionError(f"{type(error).__name__}: {error}")
        self._lost.set_exception(error)
        if not self.welcome.done():
            self.welcome.set_exception(error)
        batches = [batch for _, batch in self._waiting] + [sent.batch for sent in self._under_way.values()]
        self._waiting.clear()
        self._under_way.clear()
        for batch in batches:
            self._fail(batch, "went away")
        if self._transport is not None:
            with contextlib.suppress(RuntimeError):
                self._transport.close()
