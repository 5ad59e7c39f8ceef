"""A small noun of its own, so that the engines are tested without any of the product's."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route, TimerDue
from domain.aggregate import Aggregate, Event, EventRegistry
from streams.deciding.partition import Rules


class State(msgspec.Struct):
    total: int = 0
    alarm: datetime | None = None
    rung: int = 0
    tenant: str = ""


class Counter(Aggregate[State]):
    kind: ClassVar[str] = "counter"
    state_type = State

    def next_due(self) -> datetime | None:
        return self.state.alarm


class Added(Event, frozen=True, kw_only=True, tag="counter.added.v1"):
    amount: int
    padding: str = ""

    def apply(self, aggregate: Counter) -> None:
        aggregate.state.total += self.amount


class AlarmSet(Event, frozen=True, kw_only=True, tag="counter.alarm_set.v1"):
    alarm: datetime
    tenant: str = ""

    def apply(self, aggregate: Counter) -> None:
        aggregate.state.alarm, aggregate.state.tenant = self.alarm, self.tenant


class Rang(Event, frozen=True, kw_only=True, tag="counter.rang.v1"):
    def apply(self, aggregate: Counter) -> None:
        aggregate.state.alarm = None
        aggregate.state.rung += 1


class Add(Command, frozen=True, kw_only=True, tag="counter.add.v1"):
    area: ClassVar[Area] = Area.CHARGE_POINT
    counter: str
    amount: int
    padding: int = 0

    @property
    def aggregate_id(self) -> str:
        return f"counter|{self.counter}"


class SetAlarm(Command, frozen=True, kw_only=True, tag="counter.set_alarm.v1"):
    area: ClassVar[Area] = Area.CHARGE_POINT
    counter: str
    alarm: datetime

    @property
    def aggregate_id(self) -> str:
        return f"counter|{self.counter}"


def add(counter: Counter, command: Add, meta: Meta) -> Outcome:
    if command.amount == 0:
        return Rejected(Refusal.INVALID, "amount 0 adds nothing")
    counter.trigger(Added, meta.at, amount=command.amount, padding="x" * command.padding)
    if command.amount == 13:
        raise ValueError("thirteen")
    return Accepted(counter.state.total)


def set_alarm(counter: Counter, command: SetAlarm, meta: Meta) -> Outcome:
    counter.trigger(AlarmSet, meta.at, alarm=command.alarm, tenant=meta.tenant)
    return Accepted()


def ring(counter: Counter, command: TimerDue, meta: Meta) -> Outcome:
    if counter.state.alarm == command.due:
        counter.trigger(Rang, meta.at)
    return Accepted()


EVENTS = EventRegistry({Counter: (Added, AlarmSet, Rang)})
ROUTES: dict[type[Command], Route] = {Add: Route(Counter, add), SetAlarm: Route(Counter, set_alarm)}
RULES = Rules(ROUTES, {"counter": ring}, EVENTS, ROUTES)
