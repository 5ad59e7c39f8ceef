"""A follower reads decisions from events topics as one member of a consumer group.

What enters: the partitions that the group gives to this node. What leaves: batches of admitted decisions, in order
within a partition, handed to one function until it succeeds; only then the position moves. Stale deciders' records
never get through (`envelope.Fence`; the epoch travels in the position's note).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from commands.base import Area
from domain.aggregate import UnknownEventError
from streams.envelope import DamagedRecordError, Decision, Fence
from streams.log import Listener, Log, LogUnavailable, Member, Position, Stored, TopicPartition
from streams.topology import events_topic

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fact:
    """One decision as it stands in the log."""

    place: TopicPartition
    offset: int
    written_at: datetime
    decision: Decision


Handle = Callable[[TopicPartition, Sequence[Fact]], Awaitable[None]]


class TransientError(Exception):
    """A neighbour is away: the same batch is handed over again, later."""


@dataclass(slots=True)
class _Lane:
    fence: Fence
    position: int
    epoch: int
    queue: list[Stored] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    done: int = -1
    task: asyncio.Task[None] | None = None
    halted: str = ""


class Follower(Listener):
    """`run` until cancelled. `handle` may raise `TransientError` or `LogUnavailable` to be called again.

    With `behind` nothing younger than that many seconds is handled: a sweeper comes after somebody else. `gather`:
    seconds that facts may wait under load, so that more of them come together.
    """

    def __init__(
        self,
        log: Log,
        group: str,
        areas: Sequence[Area],
        node: str,
        handle: Handle,
        *,
        batch: int = 500,
        commit_every: float = 1.0,
        behind: float = 0.0,
        gather: float = 0.05,
    ) -> None:
        self.group = group
        self._log = log
        self._topics = tuple(events_topic(area) for area in areas)
        self._node = node
        self._handle = handle
        self._batch = batch
        self._commit_every = commit_every
        self._behind = behind
        self._gather = gather
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._member: Member | None = None
        self._room = asyncio.Event()
        self.handled = 0
        self.failures = 0
        self.delays: deque[float] = deque(maxlen=20_000)
        """Of the newest facts, from the log to the end of their handling, in seconds."""

    async def run(self) -> None:
        """Follow until cancelled."""
        member = self._log.member(self.group, self._topics, self._node, self, self._gather)
        self._member = member
        committing: asyncio.Task[None] | None = None
        try:
            await member.start()
            committing = asyncio.create_task(self._commit_forever(member))
            while True:
                try:
                    records = await member.poll(1.0, 2000)
                except LogUnavailable as error:
                    logger.warning("%s: %s", self.group, error)
                    await asyncio.sleep(0.5)
                    continue
                for place, batch in records.items():
                    lane = self._lanes.get(place)
                    if lane is None or lane.halted:
                        continue
                    lane.queue.extend(batch)
                    lane.wake.set()
                while any(len(lane.queue) > 5000 for lane in self._lanes.values()):
                    self._room.clear()
                    await self._room.wait()
        finally:
            if committing is not None:
                committing.cancel()
            for lane in self._lanes.values():
                if lane.task is not None:
                    lane.task.cancel()
            with contextlib.suppress(LogUnavailable, asyncio.CancelledError):
                await asyncio.wait_for(self._commit(member), 2)
            self._lanes.clear()
            await member.close()

    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        for place, position in positions.items():
            epoch = int(position.note) if position.note else -1
            lane = _Lane(Fence(epoch), position.offset, epoch)
            self._lanes[place] = lane
            lane.task = asyncio.create_task(self._work(place, lane))

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        for place in places:
            lane = self._lanes.pop(place, None)
            if lane is not None and lane.task is not None:
                lane.task.cancel()
        self._room.set()

    @property
    def halted(self) -> Mapping[TopicPartition, str]:
        """Partitions that cannot go on, and why."""
        return {place: lane.halted for place, lane in self._lanes.items() if lane.halted}

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """The next offset of each partition held, everything before it handled."""
        return {place: lane.position for place, lane in self._lanes.items()}

    async def _work(self, place: TopicPartition, lane: _Lane) -> None:
        while True:
            await lane.wake.wait()
            taken = lane.queue[: self._batch]
            if not taken:
                lane.wake.clear()
                continue
            del lane.queue[: len(taken)]
            self._room.set()
            try:
                facts = [
                    Fact(
                        place,
                        stored.offset,
                        datetime.fromtimestamp(stored.timestamp / 1000, UTC),
                        decision,
                    )
                    for stored in taken
                    if (decision := lane.fence.admit(stored)) is not None
                ]
                if facts and self._behind:
                    age = (datetime.now(UTC) - facts[-1].written_at).total_seconds()
                    await asyncio.sleep(max(0.0, self._behind - age))
                await self._until_done(place, facts)
            except (UnknownEventError, DamagedRecordError) as error:
                lane.halted = str(error)
                logger.error("%s halts at %s[%d]: %s", self.group, place.topic, place.partition, error)
                lane.queue.clear()
                self._room.set()
                return
            self.handled += len(facts)
            now = datetime.now(UTC)
            self.delays.extend(
                (now - fact.written_at).total_seconds() for fact in facts if fact.decision.events
            )
            # Together: a fence that has seen more than the position would drop valid decisions after a restart.
            lane.position, lane.epoch = taken[-1].offset + 1, lane.fence.epoch

    async def _until_done(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        wait = 0.05
        while facts:
            try:
                await self._handle(place, facts)
                return
            except (TransientError, LogUnavailable) as error:
                logger.warning("%s waits at %s[%d]: %s", self.group, place.topic, place.partition, error)
            except (UnknownEventError, DamagedRecordError):
                raise
            except Exception:
                self.failures += 1
                logger.exception("%s fails at %s[%d], tried again", self.group, place.topic, place.partition)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)

    async def _commit_forever(self, member: Member) -> None:
        while True:
            await asyncio.sleep(self._commit_every)
            try:
                await self._commit(member)
            except LogUnavailable as error:
                logger.warning("%s: %s", self.group, error)

    async def _commit(self, member: Member) -> None:
        moved = {
            place: Position(lane.position, str(lane.epoch) if lane.epoch >= 0 else "")
            for place, lane in self._lanes.items()
            if lane.position > lane.done and not lane.halted
        }
        if moved:
            await member.commit(moved)
            for place, position in moved.items():
                if place in self._lanes:
                    self._lanes[place].done = position.offset
