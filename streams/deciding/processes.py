"""The process engine: a process manager is a decision whose input is an event and whose outcome is commands.

Each policy is a pure function from one event to the commands that follow. Their ids are made from (process,
aggregate, version of the event, step), so that sending them twice is harmless: the first decision is the decision.
Events come from the decider in this process, as soon as they count (`streams.deciding.feed`); the position moves
once every command is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from commands.base import Area, Command, Meta, Policy, Refusal
from domain.aggregate import Event, EventRegistry, UnknownEventError
from domain.upcasting import names
from streams.following.facts import Fact, HaltError, received_at
from streams.following.follower import Follower
from streams.following.readings import completed
from streams.following.replay import facts_of, places
from streams.log import Listener, Log, LogUnavailableError, Member, Record, TopicPartition
from streams.log.batching import append_all
from streams.log.envelope import (
    CommandRecord,
    CommandRegistry,
    DamagedRecordError,
    Decision,
    decode_entry,
    decode_events,
    raw,
    record,
)
from streams.log.ranges import last_keyed, stretch
from streams.log.topology import RETENTION, commands_topic

logger = logging.getLogger(__name__)

LONGEST_LAG = timedelta(minutes=10)
"""By so much a command may have come after its cause."""


@dataclass(slots=True)
class _Floor:
    """Of a partition that is followed from its beginning: facts that were received before `since` are passed over,
    for what follows from them had been decided. `passed` once a younger one has come; `end` is where the partition
    ended then."""

    since: datetime
    end: int
    passed: bool = False

    def counts(self, fact: Fact) -> bool:
        self.passed = self.passed or fact.received_at >= self.since
        return self.passed


Refused = Callable[[str, Refusal, str], Sequence[Command]]


class Processes:
    """Follows the events of the partitions that the decider holds, and appends what the policies ask for."""

    def __init__(
        self,
        log: Log,
        policies: Mapping[type[Event], Sequence[tuple[str, Policy]]],
        refusals: Mapping[type[Command], Refused],
        events: EventRegistry,
        commands: CommandRegistry,
        node: str,
        clock: Callable[[], datetime],
        join: Callable[[Listener], Member],
        areas: Sequence[Area] = tuple(Area),
        retention: timedelta = RETENTION,
    ) -> None:
        self._log = log
        self._retention = retention
        self._floors: dict[TopicPartition, _Floor] = {}
        self._areas = areas
        self._policies = policies
        self._refusals = {name: refused for command, refused in refusals.items() for name in names(command)}
        self._events = events
        self._known = commands
        self._clock = clock
        self.follower = Follower(
            log,
            "processes",
            areas,
            node,
            self._handle,
            forget=self._forget,
            may_commit=self._may_commit,
            join=join,
        )
        self.commanded = 0
        self._asked: dict[TopicPartition, datetime | None] = {}
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        await self.follower.run()

    async def _handle(self, place: TopicPartition, batch: Sequence[Fact]) -> None:
        out: dict[TopicPartition, list[Record]] = defaultdict(list)
        await self._commands(await self._counting(place, batch), out)
        if out:
            await asyncio.gather(
                *(append_all(self._log, *place, told, patiently=True) for place, told in out.items())
            )

    async def _counting(self, place: TopicPartition, batch: Sequence[Fact]) -> Sequence[Fact]:
        """Those from which commands are to follow. What stands before our position was parked, and none of it was
        followed."""
        if batch[0].offset < self.follower.sink.lanes[place].at.offset:
            return batch
        floor = self._floors.get(place)
        if floor is None:
            floor = self._floors[place] = await self._floor(place, batch[0])
        return [fact for fact in batch if floor.counts(fact)]

    def _forget(self, place: TopicPartition) -> None:
        self._floors.pop(place, None)

    async def _floor(self, place: TopicPartition, first: Fact) -> _Floor:
        """Where commands are to follow from, of a partition that was given to us.

        No reader is opened for what is young by our clock. Where that is slow, commands say all the same how old
        their causes are.
        """
        if first.received_at >= self._clock() - self._retention:
            return _Floor(first.received_at, first.offset, passed=True)
        end = (await self._log.ends([place]))[place]
        last = (await self._last([place])).get(place, first.received_at)
        since = last - self._retention
        if first.received_at < since and await self._followed_before(place):
            raise HaltError(
                f"our position {first.offset} is older than commands are kept: what follows from it may have been "
                "decided and forgotten; take the position away to go on with what is younger (docs/operations.md)"
            )
        return _Floor(since, end)

    async def _last(self, every: Sequence[TopicPartition]) -> dict[TopicPartition, datetime]:
        """When what these partitions say last was received."""
        found: dict[TopicPartition, datetime] = {}
        for place, stored in (await last_keyed(self._log, every)).items():
            entry = decode_entry(stored)
            if isinstance(entry, Decision):
                found[place] = received_at(datetime.fromtimestamp(stored.timestamp / 1000, UTC), entry)
        return found

    async def _followed_before(self, place: TopicPartition) -> bool:
        """Whether a decision stands before our position; claims alone are passed at once."""
        async with contextlib.aclosing(
            stretch(self._log, place, 0, self.follower.positions[place])
        ) as batches:
            async for batch in batches:
                if any(stored.key is not None for stored in batch):
                    return True
        return False

    def _may_commit(self, place: TopicPartition) -> bool:
        """Not on the way to the floor: who is given the partition then begins at its beginning too."""
        floor = self._floors.get(place)
        return floor is None or floor.passed or self.follower.positions[place] >= floor.end

    async def again(self, target: TopicPartition, since: datetime | None) -> None:
        """Send once more what went into this commands partition since a time, or ever: it has lost its end.

        All of it may come twice; the first decision is the decision. What followed from facts that are older than
        commands are kept had been decided. Partitions that ask while the events are read
        for others are served together afterwards: where every topic has lost its end, that is a few readings of the
        events and not one for each. Raises LogUnavailableError.
        """
        self._asked[target] = since
        try:
            async with self._sending:
                if target in self._asked:
                    asked, self._asked = self._asked, {}
                    try:
                        await self._again(asked)
                    except BaseException:
                        self._asked = {**asked, **self._asked}  # the others' turn to try
                        raise
        finally:
            self._asked.pop(target, None)

    async def _again(self, asked: Mapping[TopicPartition, datetime | None]) -> None:
        every = places(self._log, self._areas)
        since = None if None in asked.values() else min(filter(None, asked.values())) - LONGEST_LAG
        last = await self._last(every)
        async with contextlib.aclosing(facts_of(self._log, every)) as batches:
            async for batch in batches:
                out: dict[TopicPartition, list[Record]] = defaultdict(list)
                for fact in batch:
                    old = fact.place in last and fact.received_at < last[fact.place] - self._retention
                    if old or (since is not None and fact.written_at < since):
                        continue
                    try:
                        await self._commands([fact], out)
                    except (UnknownEventError, DamagedRecordError, LogUnavailableError):
                        raise
                    except Exception:
                        # Its aggregate is parked: what it lacks is sent when that is tried again.
                        logger.exception("nothing is sent again for offset %d of %s", fact.offset, fact.place)
                for target in out.keys() & asked.keys():
                    await append_all(self._log, *target, out[target])

    async def _commands(self, batch: Sequence[Fact], out: dict[TopicPartition, list[Record]]) -> None:
        """What follows from these facts, by where it goes."""
        now = self._clock()
        for fact in batch:
            decision = fact.decision
            if decision.reply.refusal is not None and not decision.repeat:
                self._known.check(decision.command)
                refused = self._refusals.get(decision.command)
                if refused is not None:
                    cause = decision.meta.command_id
                    commands = refused(cause, decision.reply.refusal, decision.reply.message)
                    self._send(out, commands, f"refused|{cause}", fact, now)
            for event in decode_events(decision, self._events):
                event = await completed(self._log, self._events, event)
                for name, policy in self._policies.get(type(event), ()):
                    cause = f"{name}|{event.originator_id}|{event.originator_version}"
                    self._send(out, policy(event, decision.meta), cause, fact, now)

    def _send(
        self,
        out: dict[TopicPartition, list[Record]],
        commands: Sequence[Command],
        cause: str,
        fact: Fact,
        now: datetime,
    ) -> None:
        meta = fact.decision.meta
        for step, command in enumerate(commands):
            follow = Meta(
                command_id=f"{cause}|{step}",
                at=now,
                tenant=meta.tenant,
                correlation_id=command.story or meta.correlation_id or meta.command_id,
                causation_id=meta.command_id,
                principal="process",
                caused_at=fact.received_at.replace(microsecond=0),
            )
            group = command.group
            value = CommandRecord(aggregate=command.aggregate_id, meta=follow, command=raw(command))
            place = TopicPartition(commands_topic(command.area), self._log.layout.partition_of(group))
            out[place].append(record(group, value, meta.tenant))
            self.commanded += 1
