"""A follower reads decisions from events topics as one member of a consumer group.

What enters: the partitions that the group gives to this node. What leaves: batches of admitted decisions, in order
within a partition, handed to one function until it succeeds; only then the position moves. Stale deciders' records
never get through (`envelope.Fence`; the epoch travels in the position's note). An aggregate on whose fact the
function raises is parked, durably, and everybody else's facts go on (`streams.parking`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from commands.base import Area
from domain.aggregate import UnknownEventError
from projections.store.generations import Generation
from streams.backlog import Backlog
from streams.envelope import DamagedRecordError, Decision, Fence
from streams.log import (
    Listener,
    Log,
    LogDamaged,
    LogShortened,
    LogUnavailable,
    Member,
    Position,
    Stored,
    TopicPartition,
)
from streams.parking import Parked, Parking
from streams.ranges import stretch
from streams.topology import OBSERVED, events_topic, readings_topic

logger = logging.getLogger(__name__)

MOST_WAITING = 5_000
"""Records of one partition that wait in memory; what is beyond is read again."""
TRIES = 3
"""How often the facts of one aggregate are handed over before it is parked."""
PARKED_EVERY = 2.0
"""Seconds between two looks whether a parked aggregate is to be tried again."""
COMMIT_AGAIN = 0.2
"""Seconds until a position that somebody waits for is committed again."""


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


Handle = Callable[[TopicPartition, Sequence[Fact]], Awaitable[None]]
Forget = Callable[[TopicPartition], None]
Settled = Callable[[TopicPartition, int], None]


class TransientError(Exception):
    """A neighbour is away: the same batch is handed over again, later."""


class HaltError(Exception):
    """This partition cannot go on before somebody has done something; the message says why."""


@dataclass(slots=True)
class _Lane:
    fence: Fence
    position: int
    epoch: int
    backlog: Backlog
    done: int = -1
    task: asyncio.Task[None] | None = None
    halted: str = ""
    parked: dict[str, Parked] = field(default_factory=dict)
    retries: set[str] = field(default_factory=set)


class Follower(Listener):
    """`run` until cancelled. `handle` may raise `TransientError` or `LogUnavailable` to be called again.

    With `readings` it follows what stands beside the events of these areas too, in an order of its own. With `behind`
    nothing younger than that many seconds is handled: a sweeper comes after somebody else. `gather`:
    seconds that facts may wait under load, so that more of them come together. `forget` is told of each partition
    that comes or goes: another node may have gone further meanwhile. `settled` is told up to where a partition's
    position is committed, as soon as it is: what stands before is given to nobody else. The attribute `generation` is
    that of the read models which the facts go into; a position that holds for another one counts as its floor.
    """

    def __init__(
        self,
        log: Log,
        group: str,
        areas: Sequence[Area],
        node: str,
        handle: Handle,
        *,
        readings: bool = False,
        batch: int = 500,
        commit_every: float = 1.0,
        behind: float = 0.0,
        gather: float = 0.05,
        forget: Forget | None = None,
        settled: Settled | None = None,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.group = group
        self.generation = Generation()
        self._log = log
        observed = [area for area in areas if readings and area in OBSERVED]
        self._topics = (*map(events_topic, areas), *map(readings_topic, observed))
        self._node = node
        self._handle = handle
        self._batch = batch
        self._commit_every = commit_every
        self._behind = behind
        self._gather = gather
        self._forget = forget
        self._settled = settled
        self._moved = asyncio.Event()
        self._most_waiting = most_waiting
        self._parking = Parking(log)
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._member: Member | None = None
        self.handled = 0
        self.failures = 0
        self.delays: deque[float] = deque(maxlen=20_000)
        """Of the newest facts, from the log to the end of their handling, in seconds."""

    async def run(self) -> None:
        """Follow until cancelled."""
        member = self._log.member(self.group, self._topics, self._node, self, self._gather)
        self._member = member
        beside: list[asyncio.Task[None]] = []
        try:
            await member.start()
            beside = [
                asyncio.create_task(self._commit_forever(member)),
                asyncio.create_task(self._look_for_retries()),
            ]
            while True:
                try:
                    records = await member.poll(1.0, 2000)
                except LogShortened as error:
                    for place in error.places:
                        if (shortened := self._lanes.get(place)) is not None:
                            shortened.backlog.shortened()
                    continue
                except LogUnavailable as error:
                    logger.warning("%s: %s", self.group, error)
                    await asyncio.sleep(0.5)
                    continue
                except LogDamaged as error:
                    lane = None if error.place is None else self._lanes.get(error.place)
                    if error.place is None or lane is None:
                        raise
                    self._halt(error.place, lane, error)
                    continue
                for place, batch in records.items():
                    lane = self._lanes.get(place)
                    if lane is not None and not lane.halted:
                        lane.backlog.offer(batch)
        finally:
            beside.extend(lane.task for lane in self._lanes.values() if lane.task is not None)
            for task in beside:
                task.cancel()
            try:
                await asyncio.gather(*beside, return_exceptions=True)
                with contextlib.suppress(LogUnavailable, TimeoutError):
                    await asyncio.wait_for(self._commit(member), 2)
            finally:
                # Whatever else fails: a member that stays open would hand on to us what it is given.
                self._lanes.clear()
                await member.close()

    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        for place, position in positions.items():
            backlog = Backlog(self._log, place, position.offset, self._most_waiting)
            offset, epoch = standing(position, place, self.generation)
            if offset < position.offset:
                backlog.read_again(offset)
            else:
                offset, epoch = position.offset, _epoch(position)
            lane = _Lane(Fence(epoch), offset, epoch, backlog)
            self._lanes[place] = lane
            if self._forget is not None:
                self._forget(place)
            lane.task = asyncio.create_task(self._work(place, lane))

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        for place in places:
            lane = self._lanes.pop(place, None)
            if lane is not None and lane.task is not None:
                lane.task.cancel()
            if self._forget is not None:
                self._forget(place)

    @property
    def halted(self) -> Mapping[TopicPartition, str]:
        """Partitions that cannot go on, and why."""
        return {place: lane.halted for place, lane in self._lanes.items() if lane.halted}

    @property
    def parked(self) -> Sequence[Parked]:
        """The aggregates of the partitions held whose facts wait."""
        return [parked for lane in self._lanes.values() for parked in lane.parked.values()]

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """The next offset of each partition held, everything before it handled."""
        return {place: lane.position for place, lane in self._lanes.items()}

    # -- one partition -----------------------------------------------------------------------------------------

    async def _work(self, place: TopicPartition, lane: _Lane) -> None:
        try:
            await self._begin(place, lane)
            while True:
                try:
                    await lane.backlog.wait()
                except LogUnavailable as error:
                    logger.warning("%s waits at %s[%d]: %s", self.group, place.topic, place.partition, error)
                    await asyncio.sleep(0.5)
                    continue
                if lane.backlog.went_back:
                    raise HaltError(_LOST_END)
                for aggregate in sorted(lane.retries):
                    await self._retry(place, lane, lane.parked[aggregate])
                lane.retries.clear()
                taken = lane.backlog.take(self._batch)
                if taken:
                    await self._take(place, lane, taken)
        except (UnknownEventError, DamagedRecordError, LogDamaged, HaltError) as error:
            self._halt(place, lane, error)
        except Exception as error:
            logger.exception("%s at %s[%d]", self.group, place.topic, place.partition)
            self._halt(place, lane, error)

    def _halt(self, place: TopicPartition, lane: _Lane, error: Exception) -> None:
        """This partition waits for a person or another release; the others go on."""
        if not lane.halted:
            logger.error("%s halts at %s[%d]: %s", self.group, place.topic, place.partition, error)
        lane.halted = str(error)
        lane.backlog.clear()

    async def _begin(self, place: TopicPartition, lane: _Lane) -> None:
        """Learn what is parked here, and see that the log still holds what our position stands on."""
        while True:
            try:
                end = (await self._log.ends([place]))[place]
                if lane.position > end or lane.epoch >= max(end, 1):
                    raise HaltError(f"our position is {lane.position} of epoch {lane.epoch}: {_LOST_END}")
                lane.parked = await self._parking.of(self.group, place)
                break
            except LogUnavailable as error:
                logger.warning(
                    "%s begins later at %s[%d]: %s", self.group, place.topic, place.partition, error
                )
                await asyncio.sleep(0.5)
        lane.backlog.wake()

    async def _take(self, place: TopicPartition, lane: _Lane, taken: Sequence[Stored]) -> None:
        facts, halt = admitted(place, lane.fence, taken)
        if facts and self._behind:
            age = (datetime.now(UTC) - facts[-1].written_at).total_seconds()
            await asyncio.sleep(max(0.0, self._behind - age))
        await self._until_done(place, lane, facts)
        if halt is not None:
            raise halt
        self.handled += len(facts)
        now = datetime.now(UTC)
        self.delays.extend((now - fact.written_at).total_seconds() for fact in facts if fact.decision.events)
        # Together: a fence that has seen more than the position would drop valid decisions after a restart.
        lane.position, lane.epoch = taken[-1].offset + 1, lane.fence.epoch
        self._moved.set()

    async def _until_done(self, place: TopicPartition, lane: _Lane, facts: Sequence[Fact]) -> None:
        facts = [fact for fact in facts if fact.aggregate not in lane.parked]
        if not facts:
            return
        try:
            await self._hand_over(place, facts)
            return
        except (UnknownEventError, DamagedRecordError):
            if len(facts) == 1:
                raise
            # Those before the one at which the partition halts are taken.
            for fact in facts:
                await self._until_done(place, lane, [fact])
            return
        except LogDamaged:
            raise
        except Exception as error:
            self._failed(place, error)
        for aggregate in dict.fromkeys(fact.aggregate for fact in facts):
            own = [fact for fact in facts if fact.aggregate == aggregate]
            refused = await self._one_by_one(place, own)
            if refused is not None:
                fact, why = refused
                await self._park(lane, self._parked(place, fact, why))

    async def _hand_over(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        """Until they were taken; raises what is neither a neighbour away nor the log."""
        wait = 0.05
        while True:
            try:
                await self._handle(place, facts)
                return
            except (TransientError, LogUnavailable) as error:
                logger.warning("%s waits at %s[%d]: %s", self.group, place.topic, place.partition, error)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)

    async def _one_by_one(
        self, place: TopicPartition, facts: Sequence[Fact]
    ) -> tuple[Fact, Exception] | None:
        """The facts of one aggregate; the first that cannot be handed over, and why."""
        for fact in facts:
            for left in reversed(range(TRIES)):
                try:
                    await self._hand_over(place, [fact])
                    break
                except (UnknownEventError, DamagedRecordError, LogDamaged):
                    raise
                except Exception as error:
                    self._failed(place, error)
                    if not left:
                        return fact, error
                await asyncio.sleep(0.1)
        return None

    def _failed(self, place: TopicPartition, error: Exception) -> None:
        self.failures += 1
        logger.error("%s fails at %s[%d]", self.group, place.topic, place.partition, exc_info=error)

    # -- parked aggregates -------------------------------------------------------------------------------------

    def _parked(self, place: TopicPartition, fact: Fact, why: Exception) -> Parked:
        return Parked(
            group=self.group,
            topic=place.topic,
            partition=place.partition,
            aggregate=fact.aggregate,
            offset=fact.offset,
            epoch=fact.decision.epoch,
            reason=f"{type(why).__name__}: {why}"[:500],
            at=datetime.now(UTC),
        )

    async def _park(self, lane: _Lane, parked: Parked) -> None:
        """Durable before the position moves past it."""
        await self._surely(lambda: self._parking.put(parked))
        lane.parked[parked.aggregate] = parked
        logger.error(
            "%s parks %s at %s[%d]@%d: %s",
            self.group,
            parked.aggregate,
            parked.topic,
            parked.partition,
            parked.offset,
            parked.reason,
        )

    async def _retry(self, place: TopicPartition, lane: _Lane, parked: Parked) -> None:
        """Hand over what waited, in order; it is parked anew where it cannot be."""
        fence = Fence(parked.epoch)
        while True:
            try:
                async with contextlib.aclosing(
                    stretch(self._log, place, parked.offset, lane.position)
                ) as batches:
                    async for batch in batches:
                        facts, halt = admitted(place, fence, batch)
                        if halt is not None:
                            raise halt
                        own = [fact for fact in facts if fact.aggregate == parked.aggregate]
                        refused = await self._one_by_one(place, own)
                        if refused is not None:
                            fact, why = refused
                            again = self._parked(place, fact, why)
                            await self._park(lane, msgspec.structs.replace(again, retries=parked.retries))
                            return
                break
            except LogUnavailable as error:
                logger.warning("%s waits at %s[%d]: %s", self.group, place.topic, place.partition, error)
                fence = Fence(parked.epoch)
            await asyncio.sleep(0.5)
        await self._surely(lambda: self._parking.release(parked))
        del lane.parked[parked.aggregate]
        logger.warning("%s goes on with %s", self.group, parked.aggregate)

    async def _surely(self, append: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await append()
                return
            except LogUnavailable as error:
                logger.warning("%s: %s", self.group, error)
            await asyncio.sleep(0.5)

    async def _look_for_retries(self) -> None:
        while True:
            await asyncio.sleep(PARKED_EVERY)
            if not any(lane.parked for lane in self._lanes.values()):
                continue
            try:
                known = await self._parking.of_group(self.group)
            except (LogUnavailable, DamagedRecordError) as error:
                logger.warning("%s: %s", self.group, error)
                continue
            for lane in self._lanes.values():
                for aggregate, parked in lane.parked.items():
                    asked = known.get(parked.id)
                    if asked is not None and asked.retries > parked.retries:
                        lane.parked[aggregate] = asked
                        lane.retries.add(aggregate)
                        lane.backlog.wake()

    # -- positions ---------------------------------------------------------------------------------------------

    async def _commit_forever(self, member: Member) -> None:
        while True:
            if self._settled is None:
                await asyncio.sleep(self._commit_every)
            else:
                await self._moved.wait()
                self._moved.clear()
            try:
                await self._commit(member)
                if self._settled is not None:
                    for place, lane in self._lanes.items():
                        self._settled(place, lane.done)
            except LogUnavailable as error:
                logger.warning("%s: %s", self.group, error)
                if self._settled is not None:
                    self._moved.set()
                    await asyncio.sleep(COMMIT_AGAIN)

    async def _commit(self, member: Member) -> None:
        lanes = {
            place: lane
            for place, lane in self._lanes.items()
            if lane.position > lane.done and not lane.halted
        }
        if not lanes:
            return
        moved = {
            place: Position(lane.position, noted(lane.epoch, self.generation))
            for place, lane in lanes.items()
        }
        await member.commit(moved)
        for place, lane in lanes.items():
            if self._lanes.get(place) is lane:
                lane.done = moved[place].offset


def noted(epoch: int, generation: Generation) -> str:
    """What stands beside a position: the fence's epoch, and of the later generations the number."""
    if generation.number:
        return f"{epoch}/{generation.number}"
    return str(epoch) if epoch >= 0 else ""


def standing(position: Position, place: TopicPartition, generation: Generation) -> tuple[int, int]:
    """The first offset that is not in these read models, where a group has this position; and the epoch there."""
    number = position.note.partition("/")[2]
    if int(number or 0) == generation.number:
        return position.offset, _epoch(position)
    return generation.floor(*place)


def _epoch(position: Position) -> int:
    return int(position.note.partition("/")[0] or -1)


_LOST_END = (
    "the log is shorter than what we have followed: it was restored or has lost its end; "
    "rebuild what follows from it (docs/operations.md)"
)


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
