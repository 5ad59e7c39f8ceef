"""One connection to the broker that comes back by itself.

What enters: a URL, messages to publish. What leaves: acknowledged messages, and what a subscription brings, which is
acknowledged only once it was handled. Nothing is kept over a lost connection: who publishes tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from streams.follower import TransientError

logger = logging.getLogger(__name__)

IN_FLIGHT = 20
"""Unacknowledged messages at once; more was measured to be slower (mosquitto 2.0)."""

PATIENCE = 10.0
"""Seconds for the broker to acknowledge one message."""

Handle = Callable[[str, bytes], Awaitable[None]]
"""Handles one message (topic, payload); it is acknowledged when this returns."""


class BrokerAway(TransientError):
    """The broker is not connected, or did not acknowledge in time: the message may or may not have arrived."""


class Address(NamedTuple):
    """Where the broker is; `mqtt://user:password@host:port`, or `mqtts://`."""

    host: str
    port: int
    user: str | None
    password: str | None
    tls: bool

    def __str__(self) -> str:
        return f"mqtt{'s' if self.tls else ''}://{self.host}:{self.port}"


def address(url: str) -> Address:
    """Raises ValueError for what is no MQTT URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ValueError("an MQTT URL looks like mqtt://user:password@host:port")
    tls = parts.scheme == "mqtts"
    return Address(
        parts.hostname,
        parts.port or (8883 if tls else 1883),
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        tls,
    )


class Broker(ABC):
    """Where messages go."""

    @abstractmethod
    async def publish(self, topic: str, payload: bytes, event_id: str, *, retain: bool = False) -> None:
        """Returns once the broker has acknowledged it (QoS 1); raises BrokerAway."""


class Connection(Broker):
    """`run` until cancelled. With `subscribe` and `handle` the broker keeps what comes while we are away.

    `identifier` names the durable session of a subscriber: fixed for a node. Messages are handled one by one, in
    order.
    """

    def __init__(
        self,
        url: str,
        *,
        identifier: str | None = None,
        subscribe: str = "",
        handle: Handle | None = None,
        session_expiry_s: int = 86_400,
        backoff_s: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        self.address = address(url)
        self._identifier = identifier
        self._subscribe = subscribe
        self._handle = handle
        self._session_expiry_s = session_expiry_s
        self._backoff = backoff_s
        self._client: aiomqtt.Client | None = None
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._publishing: set[asyncio.Future[None]] = set()
        self.connected = asyncio.Event()
        self.away = asyncio.Event()
        self.away.set()
        self.counts = {"connects": 0, "losses": 0, "published": 0, "received": 0}

    async def run(self) -> None:
        """Stay connected until cancelled."""
        shortest, longest = self._backoff
        wait, reported = shortest, ""
        while True:
            try:
                async with self._make_client() as client:
                    await self._serve(client)
            except aiomqtt.MqttError as error:
                if self.connected.is_set():
                    self.counts["losses"] += 1
                    wait, reported = shortest, ""
                if str(error) != reported:
                    reported = str(error)
                    logger.warning("MQTT broker %s: %s; trying again", self.address, error)
            finally:
                self._client = None
                self.connected.clear()
                self.away.set()
                # aiomqtt lets them wait for their full time although nobody can answer any more.
                for publishing in self._publishing:
                    publishing.cancel()
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)

    async def publish(self, topic: str, payload: bytes, event_id: str, *, retain: bool = False) -> None:
        async with self._room:
            client = self._client
            if client is None:
                raise BrokerAway(f"the MQTT broker {self.address} is not connected")
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.UserProperty = ("event_id", event_id)
            properties.ContentType = "application/json"
            publishing = asyncio.ensure_future(
                client.publish(topic, payload, qos=1, retain=retain, properties=properties, timeout=PATIENCE)
            )
            self._publishing.add(publishing)
            try:
                await asyncio.wait((publishing,))
            finally:
                self._publishing.discard(publishing)
                publishing.cancel()
            if publishing.cancelled():
                raise BrokerAway(f"the MQTT broker {self.address} went away")
            error = publishing.exception()
            if isinstance(error, aiomqtt.MqttError):
                raise BrokerAway(f"the MQTT broker {self.address} did not take a message: {error}")
            if error is not None:
                raise error
            self.counts["published"] += 1

    def _make_client(self) -> aiomqtt.Client:
        """A new one each time: a used one would send again, late, what was not acknowledged."""
        properties = None
        if self._subscribe:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = self._session_expiry_s
        return aiomqtt.Client(
            self.address.host,
            self.address.port,
            username=self.address.user,
            password=self.address.password,
            identifier=self._identifier,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=not self._subscribe,
            properties=properties,
            keepalive=20,
            timeout=PATIENCE,
            max_inflight_messages=IN_FLIGHT,
            tls_params=aiomqtt.TLSParameters() if self.address.tls else None,
            # Without it each acknowledgement waits for a delayed TCP ack: 44 ms instead of 0.2 ms.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )

    async def _serve(self, client: aiomqtt.Client) -> None:
        if self._subscribe:
            # aiomqtt has no public way to acknowledge after handling; paho has.
            client._client.manual_ack_set(True)
            options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            await client.subscribe(self._subscribe, options=options, timeout=PATIENCE)
        _heed_cancellation()
        self._client = client
        self.counts["connects"] += 1
        self.away.clear()
        self.connected.set()
        logger.info("MQTT broker %s: connected", self.address)
        async for message in client.messages:
            self.counts["received"] += 1
            if self._handle is not None:
                payload = message.payload if isinstance(message.payload, bytes) else b""
                with contextlib.suppress(BrokerAway):
                    await self._handle(message.topic.value, payload)
                    client._client.ack(message.mid, message.qos)


def _heed_cancellation() -> None:
    """Python 3.11's `wait_for`, which aiomqtt awaits in, may lose a cancellation (python/cpython#86296)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
