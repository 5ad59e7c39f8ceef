"""Charge points and an eMSP that remember every answer, while the system under them is killed.

What enters: where the system listens. What leaves: what was asked and answered, with times, and the eMSP's CDRs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from bench.options import TENANT
from chargesphere.demo.charge_point import Charge, SimulatedChargePoint
from chargesphere.demo.emsp import Emsp

DECIDED = ("Authorize", "BootNotification", "StartTransaction", "StopTransaction")
LARGE = 200
"""Readings in the stop of every fourth charge point: a decision of more than 16 KB."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer: to whom, to what, and when it was asked and came (the event loop's clock)."""

    charge_point_id: str
    request: object
    answer: object
    asked_at: float
    answered_at: float

    @property
    def action(self) -> str:
        return type(self.request).__name__


class Witness:
    """`count` charge points with short charges one after another."""

    def __init__(self, urls: Sequence[str], emsp: Emsp, tags: Sequence[str], count: int) -> None:
        self.emsp = emsp
        self.heard: list[Heard] = []
        self.devices = [
            SimulatedChargePoint(
                f"{urls[number % len(urls)]}/ocpp/{TENANT}",
                f"W{number}",
                f"witness-secret-{number}",
                connectors=2,
                power=50_000.0,
                meter_every=0.5,
                patience=8.0,
                longest_wait=1.0,
                transaction_data=LARGE if number % 4 == 3 else 0,
                heard=self._hear(f"W{number}"),
            )
            for number in range(count)
        ]
        # Every connector has a tag of its own, so that no start is refused as ConcurrentTx.
        self._tags = list(tags)
        self._drivers: list[asyncio.Task[None]] = []
        self._stopping = False

    def _hear(self, charge_point_id: str) -> Callable[[object, object, float], None]:
        def heard(request: object, answer: object, asked_at: float) -> None:
            now = asyncio.get_running_loop().time()
            self.heard.append(Heard(charge_point_id, request, answer, asked_at, now))

        return heard

    @property
    def charges(self) -> list[Charge]:
        return [charge for device in self.devices for charge in device.charges]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connected and charging until the block ends."""
        tags = itertools.cycle(self._tags)
        tasks = [asyncio.create_task(device.run()) for device in self.devices]
        self._drivers = [
            asyncio.create_task(self._drive(device, connector, next(tags)))
            for device in self.devices
            for connector in device.connectors
        ]
        try:
            yield
        finally:
            for task in (*self._drivers, *tasks):
                task.cancel()
            await asyncio.gather(*self._drivers, *tasks, return_exceptions=True)

    async def finish(self, seconds: float) -> bool:
        """Start no more charges and wait until all have ended; whether they did."""
        self._stopping = True
        _, pending = await asyncio.wait(self._drivers, timeout=seconds)
        return not pending

    async def _drive(self, device: SimulatedChargePoint, connector: int, tag: str) -> None:
        await device.ready.wait()
        while not self._stopping:
            await device.charge(connector, tag, random.uniform(1.0, 3.0))
            await asyncio.sleep(random.uniform(0.1, 0.5))

    async def answered_after(self, moment: float, seconds: float) -> float | None:
        """Seconds from `moment` until every charge point had a decided answer to what it asked after it, or None."""
        return await self._first(seconds, lambda: self._answers_after(moment))

    async def pushed_after(self, moment: float, seconds: float) -> float | None:
        """Seconds from `moment` until the eMSP was told anything new."""
        loop = asyncio.get_running_loop()
        before = self.emsp.session_pushes + self.emsp.cdr_posts
        return await self._first(
            seconds,
            lambda: loop.time() - moment if self.emsp.session_pushes + self.emsp.cdr_posts > before else None,
        )

    async def billed(self, seconds: float) -> None:
        """Wait until the eMSP has a CDR for each charge, or for so long."""
        await self._first(seconds, lambda: 0.0 if len(self.emsp.cdrs) >= len(self.charges) else None)

    def _answers_after(self, moment: float) -> float | None:
        first: dict[str, float] = {}
        for one in reversed(self.heard):
            if one.answered_at < moment:
                break
            if one.asked_at >= moment and one.action in DECIDED:
                first[one.charge_point_id] = one.answered_at - moment
        return max(first.values()) if len(first) == len(self.devices) else None

    @staticmethod
    async def _first(seconds: float, look: Callable[[], float | None]) -> float | None:
        for _ in range(int(seconds / 0.05)):
            found = look()
            if found is not None:
                return found
            await asyncio.sleep(0.05)
        return None
