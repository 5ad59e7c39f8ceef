"""A durable subscription that comes back by itself; the broker keeps what comes while we are away.

What enters: a URL and what to subscribe to. What leaves: messages, one by one and in order, each acknowledged only
once it was handled; and now and then an answer. It is made for few messages: many are published by `Connection`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.mqtt.address import address
from gateway.mqtt.connection import PATIENCE, BrokerAway
from gateway.mqtt.packets import Outgoing

logger = logging.getLogger(__name__)

SESSION_EXPIRY_S = 86_400
"""How long the broker keeps what comes while we are away."""

Handle = Callable[[str, bytes], Awaitable[None]]
"""Handles one message (topic, payload); it is acknowledged when this returns."""


class Subscription:
    """`run` until cancelled. `identifier` names the durable session: fixed for a node."""

    def __init__(
        self,
        url: str,
        identifier: str,
        subscribe: str,
        handle: Handle,
        *,
        backoff_s: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        self.address = address(url)
        self._identifier = identifier
        self._subscribe = subscribe
        self._handle = handle
        self._backoff = backoff_s
        self._client: aiomqtt.Client | None = None
        self._publishing: set[asyncio.Future[None]] = set()
        self.connected = asyncio.Event()
        self.counts = {"connects": 0, "losses": 0, "published": 0, "received": 0}

    async def run(self) -> None:
        """Stay subscribed until cancelled."""
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
                # aiomqtt lets them wait for their full time although nobody can answer any more.
                for publishing in self._publishing:
                    publishing.cancel()
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)

    async def publish(self, message: Outgoing) -> None:
        """Returns once the broker has acknowledged it (QoS 1); raises BrokerAway."""
        client = self._client
        if client is None:
            raise BrokerAway(f"the MQTT broker {self.address} is not connected")
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = ("event_id", message.event_id)
        properties.ContentType = "application/json"
        publishing = asyncio.ensure_future(
            client.publish(
                message.topic,
                message.payload,
                qos=1,
                retain=message.retain,
                properties=properties,
                timeout=PATIENCE,
            )
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
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        return aiomqtt.Client(
            self.address.host,
            self.address.port,
            username=self.address.user,
            password=self.address.password,
            identifier=self._identifier,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=properties,
            keepalive=20,
            timeout=PATIENCE,
            tls_params=aiomqtt.TLSParameters() if self.address.tls else None,
            # Without it each acknowledgement waits for a delayed TCP ack: 44 ms instead of 0.2 ms.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )

    async def _serve(self, client: aiomqtt.Client) -> None:
        # aiomqtt has no public way to acknowledge after handling; paho has.
        client._client.manual_ack_set(True)
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        await client.subscribe(self._subscribe, options=options, timeout=PATIENCE)
        _heed_cancellation()
        self._client = client
        self.counts["connects"] += 1
        self.connected.set()
        logger.info("MQTT broker %s: subscribed", self.address)
        async for message in client.messages:
            self.counts["received"] += 1
            payload = message.payload if isinstance(message.payload, bytes) else b""
            with contextlib.suppress(BrokerAway):
                await self._handle(message.topic.value, payload)
                client._client.ack(message.mid, message.qos)


def _heed_cancellation() -> None:
    """Python 3.11's `wait_for`, which aiomqtt awaits in, may lose a cancellation (python/cpython#86296)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
