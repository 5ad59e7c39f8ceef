"""Facts: the decisions of the log that count, as those who follow them get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from domain.errors import ChargeSphereError
from streams.log import Stored, TopicPartition
from streams.log.envelope import DamagedRecordError, Decision, Fence


@dataclass(frozen=True, slots=True)
class Fact:
    """One decision as it stands in the log."""

    place: TopicPartition
    offset: int
    written_at: datetime
    decision: Decision

    @property
    def aggregate(self) -> str:
        """Whose it is."""
        return self.decision.reply.aggregate

    @property
    def received_at(self) -> datetime:
        """When what it says was received."""
        return received_at(self.written_at, self.decision)


def received_at(written_at: datetime, decision: Decision) -> datetime:
    """When what a decision says was received: not later than its record was written, which a restore writes anew, nor
    than the edge said, whose clock may be fast."""
    return min(written_at, decision.meta.at)


class TransientError(ChargeSphereError):
    """A neighbour is away: the same batch is handed over again, later."""


class HaltError(ChargeSphereError):
    """This partition cannot go on before somebody has done something; the message says why."""


def admitted(
    place: TopicPartition, fence: Fence, records: Sequence[Stored]
) -> tuple[list[Fact], DamagedRecordError | None]:
    """The facts up to a record that cannot be read, and why it cannot."""
    facts: list[Fact] = []
    for stored in records:
        try:
            decision = fence.admit(stored)
        except DamagedRecordError as error:
            return facts, error
        if decision is not None:
            written_at = datetime.fromtimestamp(stored.timestamp / 1000, UTC)
            facts.append(Fact(place, stored.offset, written_at, decision))
    return facts, None
