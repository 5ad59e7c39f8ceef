"""One aggregate under test: a command goes in by its routing table, the outcome and the new events come out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from commands.base import Accepted, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.aggregate import Aggregate, Event, EventRegistry
from streams.log.envelope import CommandRegistry, raw

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Decide:
    """Every command makes the trip through the log's JSON; after it the state equals a fold of all events."""

    def __init__(
        self,
        aggregate: type[Aggregate[Any]],
        events: tuple[type[Event], ...],
        routes: Mapping[type[Command], Route],
    ) -> None:
        self._class = aggregate
        self._events = EventRegistry({aggregate: events})
        self._routes = routes
        self._commands = CommandRegistry(routes)
        self.history: list[Event] = []
        self.new: list[Event] = []
        self.outcome: Outcome = Accepted()
        self.aggregate: Aggregate[Any] | None = None

    def do(self, command: Command, seconds: float = 0) -> Decide:
        again = self._commands.decode(raw(command))
        aggregate = self.aggregate or self._class.blank(again.aggregate_id)
        meta = Meta(command_id=str(len(self.history)), at=NOON + timedelta(seconds=seconds))
        self.outcome = self._routes[type(again)].handler(aggregate, again, meta)
        self.new = [self._events.decode(msgspec.json.encode(event)) for event in aggregate.collect_events()]
        self.history += self.new
        folded = self._class.blank(aggregate.id)
        for event in self.history:
            event.mutate(folded)
        assert folded.state == aggregate.state
        assert msgspec.json.decode(msgspec.json.encode(folded.state), type=type(folded.state)) == folded.state
        self.aggregate = aggregate
        return self

    @property
    def refusal(self) -> Refusal | None:
        return self.outcome.refusal if isinstance(self.outcome, Rejected) else None

    @property
    def message(self) -> str:
        return self.outcome.message if isinstance(self.outcome, Rejected) else ""
