"""Whether one more charge point may take itself in: the log is asked, and an answer serves for some seconds.

However many strangers knock, a process asks for a tenant once in that time; of those who come meanwhile it lets in
as many as the answer had room for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

import msgspec

from application.ports import Bus, Quota, QuotaUnavailableError
from commands.base import Meta, Refusal
from commands.tenant import AskRoom, Room

FRESH: Final = 5.0
"""Seconds for which an answer serves."""
PATIENCE: Final = 4.0
"""Seconds after which nobody waits for an answer any more."""


class _Answer:
    def __init__(self, left: int, until: float) -> None:
        self.left = left
        self.until = until


class LogQuota(Quota):
    """Over the tenants' own decisions."""

    def __init__(self, bus: Bus, clock: Callable[[], datetime]) -> None:
        self._bus = bus
        self._clock = clock
        self._answers: dict[str, _Answer] = {}
        self._asking: dict[str, asyncio.Task[_Answer]] = {}

    async def take(self, tenant: str) -> bool:
        answer = self._answers.get(tenant)
        if answer is None or asyncio.get_running_loop().time() >= answer.until:
            asking = self._asking.get(tenant)
            if asking is None:
                asking = self._asking[tenant] = asyncio.create_task(self._ask(tenant))
                asking.add_done_callback(lambda done: self._asked(tenant, done))
            answer = await asyncio.shield(asking)
        if answer.left < 1:
            return False
        answer.left -= 1
        return True

    async def _ask(self, tenant: str) -> _Answer:
        id, now = f"room|{tenant}|{uuid4()}", self._clock()
        meta = Meta(
            command_id=id,
            at=now,
            tenant=tenant,
            correlation_id=id,
            principal="gateway",
            deadline=now + timedelta(seconds=PATIENCE),
        )
        reply = await self._bus.ask(AskRoom(tenant=tenant), meta, PATIENCE)
        left = 0
        if reply.refusal is None:
            left = msgspec.json.decode(reply.result, type=Room).for_strangers
        elif reply.refusal is not Refusal.UNKNOWN:
            raise QuotaUnavailableError(f"the room of tenant {tenant} was not told: {reply.refusal}")
        answer = self._answers[tenant] = _Answer(left, asyncio.get_running_loop().time() + FRESH)
        return answer

    def _asked(self, tenant: str, done: asyncio.Task[_Answer]) -> None:
        self._asking.pop(tenant, None)
        if not done.cancelled():
            done.exception()  # whoever still waits raises it
