"""A simulated eMSP: it takes sessions, CDRs and results of its commands over a network that loses answers, and it
remembers everything.

`SimOcpiClient` stands where `gateway.ocpi.client.OcpiClient` does, at the last call before the wire.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.ocpi.client import OcpiAnswer, Peer, PeerTimedOutError, PeerUnreachableError
from tests.simulation.loop import Node
from tests.simulation.network import Fate, Network


@dataclass(slots=True)
class Asked:
    """One request to the partner: when it was begun, by which life of which process, of which object, and what was
    answered, and when; None for nothing."""

    begun: float
    sender: Node
    module: str
    id: str
    body: dict[str, Any]
    answered: float = 0.0
    http_status: int | None = None
    retry_after: float = 0.0


@dataclass(slots=True)
class Inbox:
    """What the partner was asked, and what it took in the order in which it came. `busy_until`: it answers 429 until
    then."""

    sessions: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    cdrs: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    results: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    busy_until: float = 0.0


class SimOcpiClient:
    """The client of one process."""

    def __init__(self, network: Network, node: Node, inbox: Inbox) -> None:
        self._network = network
        self._node = node
        self._inbox = inbox

    async def request(
        self,
        method: str,
        url: str,
        peer: Peer,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        to: Any = None,
        sender: Any = None,
        request_id: str = "",
        correlation_id: str = "",
        timeout: float | None = None,
    ) -> OcpiAnswer:
        loop, network = self._network.loop, self._network
        told = json.loads(body or b"{}")
        asked = Asked(loop.now, self._node, url.split("/")[3], str(told.get("id")), told)
        self._inbox.asked.append(asked)
        if self._node.trap is not None and self._node.trap("partner"):
            await asyncio.sleep(0)
        if not network.reaches(self._node, "partner"):
            await asyncio.sleep(1.0)
            raise PeerUnreachableError("the partner cannot be reached")
        fate, arrives = network.fate("partner"), network.delay("partner")
        if fate is Fate.DONE and loop.now < self._inbox.busy_until:
            asked.retry_after = self._inbox.busy_until - loop.now
            await asyncio.sleep(0)
            asked.answered, asked.http_status = loop.now, 429
            return OcpiAnswer(429, 0, "", None, {"retry-after": str(int(asked.retry_after))})
        if fate is not Fate.REFUSED:
            # On its way, whatever becomes of this process; a late one is taken when the caller has given up.
            late = 2.0 * loop.chance.random() if fate is Fate.LATE else 0.0
            arrives = network.delay("partner") + late
            loop.call_at(
                loop.now + arrives,
                self._take,
                url,
                told,
                context=loop.world_context,
            )
        if fate in (Fate.UNANSWERED, Fate.LATE):
            await asyncio.sleep(5.0)
            raise PeerTimedOutError("the partner did not answer in time")
        await asyncio.sleep(arrives + network.delay("partner"))
        asked.answered, asked.http_status = loop.now, 500 if fate is Fate.REFUSED else 200
        if fate is Fate.REFUSED:
            return OcpiAnswer(500, 3000, "not now", None, {})
        return OcpiAnswer(200, 1000, "", None, {})

    def _take(self, url: str, body: dict[str, Any]) -> None:
        now = self._network.loop.now
        if "/sessions" in url:
            self._inbox.sessions.append((now, str(body["id"]), body))
        elif "/results/" in url:
            self._inbox.results.append((now, url.rpartition("/")[2], body))
        else:
            self._inbox.cdrs.append((now, str(body["id"]), body))

    async def aclose(self) -> None:
        return
