"""Two releases of the counters: the newer counts in thousandths, in its commands, its events and its states.

The older one is `tests.streams.counter`. In the newer one `counter.add` and `counter.added` have a second form, with
the upcasters from the first; the alarms are as they were. Both fold into the same document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from commands.base import (
    Accepted,
    Area,
    Command,
    Meta,
    Outcome,
    Policy,
    Refusal,
    Rejected,
    Route,
    TimerDue,
)
from domain.aggregate import Aggregate, Event, EventRegistry
from projections.base import View
from projections.store import Document
from streams.deciding.partition import Rules
from streams.deciding.processes import Refused
from tests.streams import counter
from tests.streams.counter import AlarmSet, Rang, SetAlarm
from tests.streams.counting import target

PER_UNIT = 1000


class State(msgspec.Struct):
    """`total` in thousandths."""

    total: int = 0
    alarm: datetime | None = None
    rung: int = 0
    tenant: str = ""


class Counter(Aggregate[State]):
    kind: ClassVar[str] = "counter"
    state_type = State

    def next_due(self) -> datetime | None:
        return self.state.alarm


class Added(Event, frozen=True, kw_only=True, tag="counter.added.v2"):
    thousandths: int

    @staticmethod
    def upcast_v1_v2(fact: dict[str, Any]) -> None:
        """Whole units had been counted, and padded."""
        fact["thousandths"] = fact.pop("amount") * PER_UNIT
        fact.pop("padding", None)

    def apply(self, aggregate: Counter) -> None:
        aggregate.state.total += self.thousandths


class Add(Command, frozen=True, kw_only=True, tag="counter.add.v2"):
    area: ClassVar[Area] = Area.CHARGE_POINT
    counter: str
    thousandths: int

    @staticmethod
    def upcast_v1_v2(asked: dict[str, Any]) -> None:
        asked["thousandths"] = asked.pop("amount") * PER_UNIT
        asked.pop("padding", None)

    @property
    def aggregate_id(self) -> str:
        return f"counter|{self.counter}"


def add(counter: Counter, command: Add, meta: Meta) -> Outcome:
    if command.thousandths == 0:
        return Rejected(Refusal.INVALID, "0 adds nothing")
    counter.trigger(Added, meta.at, thousandths=command.thousandths)
    return Accepted(counter.state.total)


EVENTS = EventRegistry({Counter: (Added, AlarmSet, Rang)})


@dataclass(frozen=True, slots=True)
class Release:
    """What every process of one release runs with. `unit`: what its states count for one."""

    name: str
    unit: int
    rules: Rules
    events: EventRegistry
    view: View
    policies: Mapping[type[Event], Sequence[tuple[str, Policy]]]
    refusals: Mapping[type[Command], Refused]
    add: Callable[[str, int], Command]


def _release(
    name: str,
    unit: int,
    rules: Rules,
    counted: Callable[[Any], int],
    add: Callable[[str, int], Command],
    added: type[Event],
) -> Release:
    def evolve(document: Document | None, event: Event, meta: Meta) -> Document:
        before = document or {"total": 0, "alarms": 0}
        total, alarms = before["total"], before["alarms"]
        assert isinstance(total, int)
        assert isinstance(alarms, int)
        if isinstance(event, AlarmSet):
            alarms += 1
        else:
            total += counted(event)
        return {"total": total, "alarms": alarms}

    def mirror(event: Any, meta: Meta) -> Sequence[Command]:
        counter = event.originator_id.partition("|")[2]
        return () if counter.startswith("mirror") else (add(f"mirror-{counter}", counted(event)),)

    def echo(event: AlarmSet, meta: Meta) -> Sequence[Command]:
        counter = event.originator_id.partition("|")[2]
        return () if counter.startswith("echo") else (SetAlarm(counter=f"echo-{counter}", alarm=event.alarm),)

    def sorry(cause: str, refusal: Refusal, message: str) -> Sequence[Command]:
        return (add("mirror-sorry", 1),)

    rules.release = name
    refusals: dict[type[Command], Refused] = {type(add("", 1)): sorry}
    policies: dict[type[Event], list[tuple[str, Policy]]] = {
        added: [("mirror", mirror)],
        AlarmSet: [("echo", echo)],
    }
    return Release(
        name=name,
        unit=unit,
        rules=rules,
        events=rules.events,
        view=View("counters", "counter", "counters", target, evolve, dense=True),
        policies=policies,
        refusals=refusals,
        add=add,
    )


def _rules(
    add_route: Mapping[type[Command], Route], noun: type[Aggregate[Any]], events: EventRegistry
) -> Rules:
    routes: dict[type[Command], Route] = {**add_route, SetAlarm: Route(noun, counter.set_alarm)}
    return Rules(routes, {"counter": _ring}, events, routes)


def _ring(aggregate: Any, command: TimerDue, meta: Meta) -> Outcome:
    return counter.ring(aggregate, command, meta)


OLD = _release(
    "old",
    1,
    _rules({counter.Add: Route(counter.Counter, counter.add)}, counter.Counter, counter.EVENTS),
    lambda event: event.amount,
    lambda name, amount: counter.Add(counter=name, amount=amount),
    counter.Added,
)
NEW = _release(
    "new",
    PER_UNIT,
    _rules({Add: Route(Counter, add)}, Counter, EVENTS),
    lambda event: event.thousandths // PER_UNIT,
    lambda name, amount: Add(counter=name, thousandths=amount * PER_UNIT),
    Added,
)
