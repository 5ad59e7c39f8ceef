"""The base of every aggregate and every event, on the `eventsourcing` library.

An aggregate is born empty at version 0 (`Aggregate.blank`) and becomes what its events say. An event is a frozen
struct with a stable name and version (`session.started.v1`): the name is written to the log, never the class's
path, and is kept for ever. `apply` evolves the aggregate's `state`; `trigger` is how a handler decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import msgspec
from eventsourcing.domain import BaseAggregate, CanMutateAggregate

from domain.errors import ChargeSphereError
from domain.upcasting import Forms, current_name

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

State = TypeVar("State", bound=msgspec.Struct)


class Event(
    msgspec.Struct, CanMutateAggregate[str], frozen=True, kw_only=True, omit_defaults=True, tag_field="type"
):
    """One fact about one aggregate. Its name is its `tag`, written to the log as `type`.

    `originator_id` is the aggregate's id, `originator_version` counts from 1 without gaps, or from a life's beginning
    (`Aggregate.recurs`), `timestamp` is when the edge received what led to it (UTC, never running back within an
    aggregate) and `occurred_at` when the sender says that it happened.
    """

    begins: ClassVar[bool] = False
    """Whether it begins a life, of an aggregate whose id may come again (`Aggregate.recurs`)."""

    originator_id: str = msgspec.field(name="aggregate")
    originator_version: int = msgspec.field(name="version")
    timestamp: datetime = msgspec.field(name="received_at")
    occurred_at: datetime | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        """A struct's own class arguments are taken by its metaclass; the library's hook takes none."""
        super().__init_subclass__()

    @property
    def happened_at(self) -> datetime:
        """When it happened: the sender's time where it gave one, else the time of receipt."""
        return self.occurred_at or self.timestamp

    @property
    def ordinal(self) -> str:
        """Which of its aggregate's facts it is: with the aggregate's id it names the fact, whenever it is told."""
        return str(self.originator_version)


class Observation(Event, frozen=True, kw_only=True):
    """A fact that nobody decided, said beside its aggregate: no version of it, and no fold takes it in."""

    originator_version: int = msgspec.field(name="version", default=0)


class Aggregate(BaseAggregate[str], Generic[State]):
    """An aggregate with a `kind` (the first word of its event names) and one mutable `state` struct."""

    kind: ClassVar[str] = ""
    ends: ClassVar[bool] = False
    """Whether it is forgotten at last: the retention of commands after its last event, where it is `over` by then."""
    recurs: ClassVar[bool] = False
    """Whether its id may come again after that, for something else: each life then counts its versions from a number
    that is above those of the lives before (`streams.deciding.partition`)."""
    state_type: ClassVar[type[msgspec.Struct]]
    state: State

    @classmethod
    def blank(cls, id: str) -> Self:
        """The aggregate before its first event: version 0."""
        aggregate = cls.__new__(cls)
        aggregate.__base_init__(id, 0, EPOCH)
        aggregate.state = cast("State", cls.state_type())
        return aggregate

    @classmethod
    def restore(cls, id: str, version: int, modified_on: datetime, state: State) -> Self:
        """The aggregate as a stored state says it was."""
        aggregate = cls.blank(id)
        aggregate.version = version
        aggregate.modified_on = modified_on
        aggregate.state = state
        return aggregate

    @property
    def exists(self) -> bool:
        """Whether anything is known of it."""
        return self.version > 0

    def trigger(self, event: type[Event], at: datetime, /, **values: object) -> None:
        """Decide one event at the time of receipt `at`, which is never earlier than that of the event before."""
        self.trigger_event(event, timestamp=max(at, self.modified_on), **values)

    def take_in(self, event: Event) -> None:
        """Become what the event says; with one that begins a life nothing is left of the life before.

        Raises OriginatorVersionError where an event before it is missing.
        """
        if event.begins:
            self.state = cast("State", self.state_type())
            self.version = event.originator_version - 1
        event.mutate(self)

    @property
    def over(self) -> bool:
        """Whether nothing more is expected of it; what comes after all says so of itself (`Command.after_all`)."""
        return False

    def next_due(self) -> datetime | None:
        """When this aggregate wants a `TimerDue`, if at all; read from its state alone."""
        return None

    @property
    def tenant(self) -> str:
        """Whose it is; empty where it is no tenant's."""
        return str(getattr(self.state, "tenant", ""))


class UnknownEventError(ChargeSphereError):
    """The log holds an event that this release does not know: the reader halts, it never skips."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"unknown event {name!r} in the log: written by a newer release, upgrade this process"
        )
        self.name = name


def event_name(event: type[Event] | Event) -> str:
    """The stable name of an event, such as `session.started.v1`."""
    return current_name(event if isinstance(event, type) else type(event))


def kind_of(aggregate_id: str) -> str:
    """The kind of the aggregate with this id; ids are `kind|…`."""
    return aggregate_id.partition("|")[0]


class EventRegistry:
    """Every aggregate by its kind and every event by its name, older forms included (`domain.upcasting`)."""

    def __init__(self, aggregates: Mapping[type[Aggregate[Any]], tuple[type[Event], ...]]) -> None:
        self._kinds = {aggregate.kind: aggregate for aggregate in aggregates}
        for aggregate, events in aggregates.items():
            for event in events:
                if not event_name(event).startswith(f"{aggregate.kind}."):
                    raise ValueError(f"event {event_name(event)!r} does not begin with {aggregate.kind!r}")
        self._forms: Forms[Event] = Forms(event for events in aggregates.values() for event in events)

    @property
    def events(self) -> Mapping[str, type[Event]]:
        """Every event class by the name under which it is written, in order of declaration."""
        return self._forms.current

    @property
    def names(self) -> Mapping[str, str]:
        """The current name of each name under which an event may stand in the log."""
        return self._forms.names

    def decode(self, data: bytes | msgspec.Raw) -> Event:
        """The event from its JSON, whatever form it has there; raises `UnknownEventError`, or
        `msgspec.ValidationError` where it is damaged."""
        return self._forms.decode(data, UnknownEventError)

    def aggregate(self, kind: str) -> type[Aggregate[Any]]:
        """The aggregate class of a kind; raises `UnknownEventError`."""
        try:
            return self._kinds[kind]
        except KeyError:
            raise UnknownEventError(kind) from None
