"""The process engine: a process manager is a decision whose input is an event and whose outcome is commands.

Each policy is a pure function from one event to the commands that follow. Their ids are made from (process,
aggregate, version of the event, step), so that sending them twice is harmless: the first decision is the decision.
The position moves once every command is durable.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from commands.base import Area, Command, Meta
from domain.aggregate import Event, EventRegistry
from streams.envelope import CommandRecord, decode_events, raw, record
from streams.follower import Fact, Follower
from streams.log import Log, Record, TopicPartition
from streams.topology import commands_topic, partition_of

Policy = Callable[[Any, Meta], Sequence[Command]]


class Processes:
    """Follows the events of all areas and appends what the policies ask for."""

    def __init__(
        self,
        log: Log,
        policies: Mapping[type[Event], Sequence[tuple[str, Policy]]],
        events: EventRegistry,
        node: str,
        clock: Callable[[], datetime],
        areas: Sequence[Area] = tuple(Area),
    ) -> None:
        self._log = log
        self._policies = policies
        self._events = events
        self._clock = clock
        self.follower = Follower(log, "processes", areas, node, self._handle)
        self.commanded = 0

    async def run(self) -> None:
        await self.follower.run()

    async def _handle(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        now = self._clock()
        out: dict[TopicPartition, list[Record]] = defaultdict(list)
        for fact in facts:
            meta = fact.decision.meta
            for event in decode_events(fact.decision, self._events):
                for name, policy in self._policies.get(type(event), ()):
                    for step, command in enumerate(policy(event, meta)):
                        id = f"{name}|{event.originator_id}|{event.originator_version}|{step}"
                        follow = Meta(
                            command_id=id,
                            at=now,
                            tenant=meta.tenant,
                            correlation_id=meta.correlation_id or meta.command_id,
                            causation_id=meta.command_id,
                            principal=f"process:{name}",
                        )
                        group = command.group
                        out[TopicPartition(commands_topic(command.area), partition_of(group))].append(
                            record(
                                group,
                                CommandRecord(
                                    aggregate=command.aggregate_id, meta=follow, command=raw(command)
                                ),
                                meta.tenant,
                            )
                        )
                        self.commanded += 1
        if out:
            await asyncio.gather(*(self._log.append(p.topic, p.partition, r) for p, r in out.items()))
