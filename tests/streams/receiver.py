"""Doubles of whoever is told things: targets that take everything, and keep what they were sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from domain.delivery import AttemptDue
from domain.values import PartyId
from streams.effects.target import Content, Job, Outcome, Target

Sent = tuple[Job, int]
"""An object and the version at which it was sent."""


@dataclass
class Receiver(Target[Sent]):
    """Answers each request as `answer` says, or takes it; `offline` parties are not connected."""

    sent: list[Sent] = field(default_factory=list)
    offline: set[PartyId] = field(default_factory=set)
    answer: Callable[[Job], Outcome] = lambda job: Outcome("delivered", 200)

    async def connected(self, to: PartyId) -> bool:
        return to not in self.offline

    async def prepare(self, job: Job, content: Content) -> Sent | Outcome:
        if job.to in self.offline:
            return Outcome("offline", reason="not connected")
        return job, content.version

    async def send(self, letter: Sent, correlation_id: str) -> Outcome:
        self.sent.append(letter)
        return self.answer(letter[0])


async def original(event: AttemptDue) -> Content:
    """A CDR is always there."""
    return Content({}, event.wanted)
