"""The process engine: a process manager is a decision whose input is an event and whose outcome is commands.

Each policy is a pure function from one event to the commands that follow. Their ids are made from (process,
aggregate, version of the event, step), so that sending them twice is harmless: the first decision is the decision.
The position moves once every command is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from commands.base import Area, Command, Meta, Policy, Refusal
from domain.aggregate import Event, EventRegistry, UnknownEventError
from domain.upcasting import names
from streams.envelope import (
    CommandRecord,
    CommandRegistry,
    DamagedRecordError,
    decode_events,
    raw,
    record,
)
from streams.follower import Fact, Follower
from streams.log import Log, LogUnavailable, Record, TopicPartition
from streams.portions import append_all
from streams.readings import completed
from streams.replay import facts_of, places
from streams.topology import commands_topic, partition_of

logger = logging.getLogger(__name__)

LONGEST_LAG = timedelta(minutes=10)
"""By so much a command may have come after its cause."""

Refused = Callable[[str, Refusal, str], Sequence[Command]]


class Processes:
    """Follows the events of all areas and appends what the policies ask for."""

    def __init__(
        self,
        log: Log,
        policies: Mapping[type[Event], Sequence[tuple[str, Policy]]],
        refusals: Mapping[type[Command], Refused],
        events: EventRegistry,
        commands: CommandRegistry,
        node: str,
        clock: Callable[[], datetime],
        areas: Sequence[Area] = tuple(Area),
    ) -> None:
        self._log = log
        self._areas = areas
        self._policies = policies
        self._refusals = {name: refused for command, refused in refusals.items() for name in names(command)}
        self._events = events
        self._known = commands
        self._clock = clock
        self.follower = Follower(log, "processes", areas, node, self._handle, gather=0.02)
        self.commanded = 0
        self._asked: dict[TopicPartition, datetime | None] = {}
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        await self.follower.run()

    async def _handle(self, place: TopicPartition, batch: Sequence[Fact]) -> None:
        out: dict[TopicPartition, list[Record]] = defaultdict(list)
        await self._commands(batch, out)
        if out:
            await asyncio.gather(*(append_all(self._log, p.topic, p.partition, r) for p, r in out.items()))

    async def again(self, target: TopicPartition, since: datetime | None) -> None:
        """Send once more what went into this commands partition since a time, or ever: it has lost its end.

        All of it may come twice; the first decision is the decision. Partitions that ask while the events are read
        for others are served together afterwards: where every topic has lost its end, that is a few readings of the
        events and not one for each. Raises LogUnavailable.
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
        earliest = None if None in asked.values() else min(filter(None, asked.values())) - LONGEST_LAG
        async with contextlib.aclosing(facts_of(self._log, places(self._areas))) as batches:
            async for batch in batches:
                out: dict[TopicPartition, list[Record]] = defaultdict(list)
                for fact in batch:
                    if earliest is not None and fact.written_at < earliest:
                        continue
                    try:
                        await self._commands([fact], out)
                    except (UnknownEventError, DamagedRecordError, LogUnavailable):
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
                    self._send(out, commands, f"refused|{cause}", decision.meta, now)
            for event in decode_events(decision, self._events):
                event = await completed(self._log, self._events, event)
                for name, policy in self._policies.get(type(event), ()):
                    cause = f"{name}|{event.originator_id}|{event.originator_version}"
                    self._send(out, policy(event, decision.meta), cause, decision.meta, now)

    def _send(
        self,
        out: dict[TopicPartition, list[Record]],
        commands: Sequence[Command],
        cause: str,
        meta: Meta,
        now: datetime,
    ) -> None:
        for step, command in enumerate(commands):
            follow = Meta(
                command_id=f"{cause}|{step}",
                at=now,
                tenant=meta.tenant,
                correlation_id=meta.correlation_id or meta.command_id,
                causation_id=meta.command_id,
                principal="process",
            )
            group = command.group
            value = CommandRecord(aggregate=command.aggregate_id, meta=follow, command=raw(command))
            place = TopicPartition(commands_topic(command.area), partition_of(group))
            out[place].append(record(group, value, meta.tenant))
            self.commanded += 1
