"""A durable subscription that comes back by itself; the broker keeps what comes while we are away.

What enters: a URL and what to subscribe to. What leaves: messages, one by one and in order, each acknowledged only
once it was handled; and now and then an answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import aiomqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.mqtt.connection import PATIENCE, BrokerAwayError, BrokerConnection

SESSION_EXPIRY_S = 86_400
"""How long the broker keeps what comes while we are away."""

Handle = Callable[[str, bytes], Awaitable[None]]
"""Handles one message (topic, payload); it is acknowledged when this returns."""


class Subscription(BrokerConnection):
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
        super().__init__(url, identifier=identifier, backoff_s=backoff_s)
        self._subscribe = subscribe
        self._handle = handle

    def _keeps_for(self) -> int:
        return SESSION_EXPIRY_S

    async def _prepare(self, client: aiomqtt.Client) -> None:
        # aiomqtt has no public way to acknowledge after handling; paho has.
        client._client.manual_ack_set(True)
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        await client.subscribe(self._subscribe, options=options, timeout=PATIENCE)

    async def _take(self, client: aiomqtt.Client, message: aiomqtt.Message) -> None:
        self.counts["received"] += 1
        payload = message.payload if isinstance(message.payload, bytes) else b""
        with contextlib.suppress(BrokerAwayError):
            await self._handle(message.topic.value, payload)
            client._client.ack(message.mid, message.qos)
