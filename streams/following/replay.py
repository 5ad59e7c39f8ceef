"""Reading the past: admitted decisions from the beginning to the end as it is now, and what is folded from them.

Nothing is decided, sent, appended or committed here, however often it runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from commands.base import Area
from domain.aggregate import Aggregate, Event, EventRegistry, Observation, kind_of
from streams.following.facts import Fact, admitted
from streams.log import Log, TopicPartition
from streams.log.envelope import Decision, Fence, decode_events
from streams.log.ranges import stretches
from streams.log.topology import OBSERVED, events_topic, readings_topic


async def facts(log: Log, place: TopicPartition) -> AsyncGenerator[Sequence[Fact], None]:
    """A partition's admitted decisions in batches."""
    async with contextlib.aclosing(facts_of(log, [place])) as batches:
        async for batch in batches:
            yield batch


async def facts_of(log: Log, every: Sequence[TopicPartition]) -> AsyncGenerator[Sequence[Fact], None]:
    """The admitted decisions of all these partitions by one reader, in order within a partition, up to where they end
    now. It never stops short: raises LogUnavailableError."""
    fences = {place: Fence() for place in every}
    async with contextlib.aclosing(stretches(log, dict.fromkeys(every, 0))) as batches:
        async for place, batch in batches:
            found, halt = admitted(place, fences[place], batch)
            if halt is not None:
                raise halt
            yield found


def places(log: Log, areas: Iterable[Area]) -> list[TopicPartition]:
    """Every events partition of these areas."""
    return [place for area in areas for place in log.places(events_topic(area))]


def readings_places(log: Log, areas: Iterable[Area]) -> list[TopicPartition]:
    """Every partition of readings of these areas."""
    return [place for area in areas if area in OBSERVED for place in log.places(readings_topic(area))]


async def history(
    log: Log, areas: Iterable[Area], wanted: Callable[[Decision], bool], events: EventRegistry
) -> AsyncGenerator[tuple[Fact, list[Event]], None]:
    """The decisions that are wanted, with their events, partition after partition; readings behind the events."""
    areas = tuple(areas)
    for place in (*places(log, areas), *readings_places(log, areas)):
        async with contextlib.aclosing(facts(log, place)) as batches:
            async for batch in batches:
                for fact in batch:
                    if wanted(fact.decision):
                        yield fact, decode_events(fact.decision, events)


def state_at(events: Iterable[Event], registry: EventRegistry, at: datetime | None) -> Aggregate[Any] | None:
    """The aggregate as it was when everything received until `at` had been folded."""
    aggregate: Aggregate[Any] | None = None
    for event in events:
        if isinstance(event, Observation):
            continue
        if at is not None and event.timestamp > at:
            break
        if aggregate is None:
            aggregate = registry.aggregate(kind_of(event.originator_id)).blank(event.originator_id)
        aggregate.take_in(event)
    return aggregate
