"""The port of whoever is told things by request: a partner by OCPI; a webhook or a mailbox has the same shape.

What enters: which object goes to whom, and its document. What leaves: what became of the request.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, NamedTuple, TypeVar

from domain.values import PartyId
from projections.store import Document
from streams.effects.gate import Gate

LONGEST_SEND = timedelta(seconds=10)
"""No request lasts longer, answered or not."""


class Job(NamedTuple):
    """One object on its way to one party."""

    to: PartyId
    module: str
    object_id: str


class Content(NamedTuple):
    """An object as it is, and its version."""

    document: Document
    version: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: delivered, refused, unreachable, unknown, or offline, where it was not made because
    nobody is connected. `retry_after`: seconds for which they asked to be left alone. `for_good`: no later try of the
    object as it is can end otherwise.
    """

    outcome: str
    http_status: int = 0
    reason: str = ""
    remote_url: str = ""
    retry_after: float = 0.0
    for_good: bool = False

    @property
    def answered(self) -> bool:
        """Whether somebody said something to it."""
        return self.outcome in ("delivered", "refused")


Letter = TypeVar("Letter")


class Target(ABC, Generic[Letter]):
    """Never raises for what the other side does."""

    @abstractmethod
    async def connected(self, to: PartyId) -> bool:
        """Whether anything may be sent to this party now. Raises StoreUnavailableError."""

    @abstractmethod
    async def prepare(self, job: Job, content: Content) -> Letter | Outcome:
        """The object in their form, ready to be sent; an outcome where it cannot be. Raises StoreUnavailableError."""

    @abstractmethod
    async def send(self, letter: Letter, correlation_id: str) -> Outcome:
        """One request, begun at once: what came before is over."""


async def request(
    target: Target[Letter],
    gate: Gate,
    to: PartyId,
    letter: Letter,
    correlation_id: str,
    within: timedelta = LONGEST_SEND,
) -> Outcome:
    """One request that the gate has let through, and what the gate learns from it. Raises what `send` raises."""
    try:
        async with asyncio.timeout(within.total_seconds()):
            outcome = await target.send(letter, correlation_id)
    except TimeoutError:
        outcome = Outcome("unknown", reason=f"no answer in {within.total_seconds():.0f} s")
    key = str(to)
    await (gate.answered(key) if outcome.answered else gate.failed(key))
    if outcome.retry_after:
        await gate.hold(key, outcome.retry_after)
    return outcome
