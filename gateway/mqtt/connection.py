"""One connection to the broker that comes back by itself, for many messages at once.

What enters: a URL, batches of messages. What leaves: acknowledged messages. Nothing is kept over a lost connection:
who publishes tries again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.mqtt.address import address
from streams.following.facts import TransientError

logger = logging.getLogger(__name__)

IN_FLIGHT = 100
"""Unacknowledged messages at once: enough for a broker that takes 50 ms to acknowledge under load."""

MOST_REASONS = 3
"""How many reasons of one absence are said."""

PATIENCE = 10.0
"""Seconds for the broker to accept a connection, and to acknowledge what it was sent."""


_JSON = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
_JSON.ContentType = "application/json"


class BrokerAwayError(TransientError):
    """The broker is not connected, or did not acknowledge in time: the message may or may not have arrived."""


class Outgoing(NamedTuple):
    """One message as JSON; an empty payload clears what the broker retains of the topic."""

    topic: str
    payload: bytes
    event_id: str
    retain: bool = False


class Broker(ABC):
    """Where messages go."""

    @abstractmethod
    async def publish(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        """Sends them in order and returns once the broker has acknowledged all (QoS 1); raises BrokerAwayError.

        Each event id is added to `acknowledged` as it comes, so that it need not be sent again after
        BrokerAwayError."""


class BrokerConnection(Broker):
    """`run` until cancelled. `identifier` names us to the broker; without one it gives us a name."""

    def __init__(
        self, url: str, *, identifier: str | None = None, backoff_s: tuple[float, float] = (0.1, 10.0)
    ) -> None:
        self.address = address(url)
        self._identifier = identifier
        self._backoff = backoff_s
        self._client: aiomqtt.Client | None = None
        self._publishing: set[asyncio.Future[None]] = set()
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self.connected = asyncio.Event()
        self.away = asyncio.Event()
        self.away.set()
        self._said: set[str] = set()
        """Why it is away, as it was said: each reason once, however long it lasts."""
        self.counts = {"connects": 0, "losses": 0, "published": 0, "received": 0, "refused": 0}

    async def run(self) -> None:
        """Stay connected until cancelled."""
        shortest, longest = self._backoff
        wait = shortest
        while True:
            try:
                async with self._make_client() as client:
                    await self._prepare(client)
                    _heed_cancellation()
                    self._opened(client)
                    async for message in client.messages:
                        await self._take(client, message)
            except aiomqtt.MqttError as error:
                if self.connected.is_set():
                    self.counts["losses"] += 1
                    wait = shortest
                reason = str(error)
                if reason not in self._said and len(self._said) < MOST_REASONS:
                    self._said.add(reason)
                    logger.warning("MQTT broker %s: %s; trying again until it answers", self.address, reason)
            finally:
                self._client = None
                self.connected.clear()
                self.away.set()
                # aiomqtt lets them wait for their full time although nobody can answer any more.
                for publishing in self._publishing:
                    publishing.cancel()
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)

    async def publish(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        client = self._client
        if client is None:
            raise BrokerAwayError(f"the MQTT broker {self.address} is not connected")
        if not messages:
            return
        publishing = asyncio.ensure_future(self._publish_all(client, messages, acknowledged))
        self._publishing.add(publishing)
        try:
            await asyncio.wait((publishing,))
        finally:
            self._publishing.discard(publishing)
            publishing.cancel()
        if publishing.cancelled():
            raise BrokerAwayError(f"the MQTT broker {self.address} went away")
        publishing.result()

    async def _publish_all(
        self, client: aiomqtt.Client, messages: Sequence[Outgoing], acknowledged: set[str]
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for message in messages:
                    # They take their turns in the order in which they begin.
                    group.create_task(self._publish_one(client, message, acknowledged))
        except ExceptionGroup as errors:
            error = errors.exceptions[0]
            if isinstance(error, aiomqtt.MqttError):
                raise BrokerAwayError(
                    f"the MQTT broker {self.address} did not take a message: {error}"
                ) from error
            raise error from None

    async def _publish_one(self, client: aiomqtt.Client, message: Outgoing, acknowledged: set[str]) -> None:
        properties = copy(_JSON)
        properties.UserProperty = ("event_id", message.event_id)
        try:
            async with self._room:
                await client.publish(
                    message.topic,
                    message.payload,
                    qos=1,
                    retain=message.retain,
                    properties=properties,
                    timeout=PATIENCE,
                )
        except (ValueError, TypeError) as error:
            # No broker could take it, ever: it must not keep those beside it from being told.
            self.counts["refused"] += 1
            logger.error("a message for %r is not told: %s", message.topic[:200], error)
        else:
            self.counts["published"] += 1
        acknowledged.add(message.event_id)

    # -- what a subscription does otherwise ------------------------------------------------------------------------

    def _keeps_for(self) -> int:
        """Seconds for which the broker keeps what comes while we are away; 0: it forgets us."""
        return 0

    async def _prepare(self, client: aiomqtt.Client) -> None:
        """Before anything is sent on a new connection."""

    async def _take(self, client: aiomqtt.Client, message: aiomqtt.Message) -> None:
        """A message that came."""

    # ---

    def _make_client(self) -> aiomqtt.Client:
        """A new one each time: a used one would send again, late, what was not acknowledged."""
        properties = None
        if keeps := self._keeps_for():
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = keeps
        client = aiomqtt.Client(
            self.address.host,
            self.address.port,
            username=self.address.user,
            password=self.address.password,
            identifier=self._identifier,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=not keeps,
            properties=properties,
            keepalive=20,
            timeout=PATIENCE,
            max_inflight_messages=IN_FLIGHT,
            tls_params=aiomqtt.TLSParameters() if self.address.tls else None,
            # Without it each acknowledgement waits for a delayed TCP ack: 44 ms instead of 0.2 ms.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        # Above it every call is a warning.
        client.pending_calls_threshold = 2 * IN_FLIGHT
        return client

    def _opened(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.counts["connects"] += 1
        self.away.clear()
        self.connected.set()
        if self._said:
            self._said.clear()
            logger.warning("MQTT broker %s: connected again", self.address)


def _heed_cancellation() -> None:
    """Python 3.11's `wait_for`, which aiomqtt awaits in, may lose a cancellation (python/cpython#86296)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
