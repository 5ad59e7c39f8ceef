"""A sink takes the facts of partitions, each in a lane of its own, at a pace of its own.

What enters: the records that a group's member reads. What leaves: batches of admitted decisions, in order within a
partition, handed to one function until it succeeds; only then the sink's position moves. Stale deciders' records
never get through (`envelope.Fence`). An aggregate on whose fact the function raises is parked, durably, and everybody
else's facts go on (`streams.following.parking`). What there is no room for is read again
(`streams.following.behind`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from commands.base import Area
from domain.aggregate import UnknownEventError
from streams.following.backlog import Backlog
from streams.following.behind import Behind
from streams.following.delays import Delays
from streams.following.facts import Fact, HaltError, TransientError, admitted
from streams.following.parking import Parked, Parking, Waiting, parked
from streams.log import Log, LogDamagedError, LogUnavailableError, Stored, TopicPartition
from streams.log.envelope import DamagedRecordError, Fence
from streams.log.ranges import stretch
from streams.log.topology import OBSERVED, events_topic, readings_topic

logger = logging.getLogger(__name__)

MOST_WAITING = 5_000
"""Records of one partition that wait in memory; what is beyond is read again."""
MOST_IN_ALL = 5_000
"""Records of all partitions of a sink that wait beside other sinks."""
LEAST_SHARE = 50
"""Records of a partition that are read again at once, however many partitions are behind."""
STEP_BEHIND = 0.25
"""How far apart the moments are, in seconds, at which who comes after somebody else goes on."""
TRIES = 3
"""How often the facts of one aggregate are handed over before it is parked."""
PARKED_EVERY = 2.0
"""Seconds between two looks whether a parked aggregate is to be tried again."""

Handle = Callable[[TopicPartition, Sequence[Fact]], Awaitable[None]]
Forget = Callable[[TopicPartition], None]
Settled = Callable[[TopicPartition, int], None]
Gained = Callable[[Mapping[TopicPartition, bool]], Awaitable[None]]


class Standing(NamedTuple):
    """Everything before `offset` was taken; `epoch` is the fence's there."""

    offset: int
    epoch: int = -1


class Start(NamedTuple):
    """Where a sink begins in a partition that it is given: at its own position, or new at the beginning of the log.
    The common reading of all sinks begins at `common`."""

    standing: Standing
    known: bool
    common: int


@dataclass(slots=True)
class Lane:
    """One partition of one sink."""

    at: Standing
    fence: Fence
    backlog: Backlog
    kept: Standing
    """What the group's position says of us; where we began, while it does not."""
    begun: bool
    """Whether we count: somebody new is not noted before it is settled where it begins."""
    committed: bool = False
    in_hand: int = 0
    task: asyncio.Task[None] | None = None
    halted: str = ""
    parked: dict[str, Parked] = field(default_factory=dict)
    retries: set[str] = field(default_factory=set)


class _Begun(NamedTuple):
    """Where a partition ended as it was gained, and the aggregates that wait there."""

    end: int
    waiting: Waiting


class Keeper(Protocol):
    """Whatever a handler keeps back in memory, and writes now and then."""

    async def write_due(self) -> None:
        """Write it where it is time. Raises TransientError."""

    async def write(self) -> None:
        """Write it now. Raises TransientError."""

    def unwritten(self, place: TopicPartition) -> tuple[int, int] | None:
        """The first offset of which something is kept back, and the epoch there."""


class Sink:
    """What becomes of facts, under the name that parked aggregates and lines of the log bear.

    `handle` may raise `TransientError` or `LogUnavailableError` to be called again. With `readings` it takes what
    stands beside the events of these areas too, in an order of its own. With `behind` nothing younger than
    that many seconds is handled: a sweeper comes after somebody else. `gather`: seconds that facts may wait under
    load, so that more of them come together. `gained` is told of the partitions that come, and whether the
    sink has a position there; nothing of them is handed over before it has returned. `forget` is told of each
    partition that comes or goes: another node may have gone further meanwhile. `settled` is told up to where a
    partition's position is committed, as soon as it is: what stands before is given to nobody else. `ended` is told
    that the group is left. No position passes what the `keeper` keeps back, and none moves where
    `may_commit` says no. At most `most_waiting` records of a partition wait, and `most_in_all` of the sink.
    """

    def __init__(
        self,
        log: Log,
        name: str,
        areas: Sequence[Area],
        handle: Handle,
        *,
        readings: bool = False,
        batch: int = 500,
        behind: float = 0.0,
        gather: float = 0.0,
        gained: Gained | None = None,
        forget: Forget | None = None,
        settled: Settled | None = None,
        ended: Callable[[], None] | None = None,
        keeper: Keeper | None = None,
        may_commit: Callable[[TopicPartition], bool] | None = None,
        most_waiting: int = MOST_WAITING,
        most_in_all: int | None = None,
    ) -> None:
        self.name = name
        observed = [area for area in areas if readings and area in OBSERVED]
        self.topics = (*map(events_topic, areas), *map(readings_topic, observed))
        self.settled = settled
        self.keeper = keeper
        self._may_commit = may_commit
        self._ended = ended
        self.moved = asyncio.Event()
        """Set when there is something to commit; the group clears it."""
        self.urgent = asyncio.Event()
        """Set too where somebody is to be told what is settled; the group clears it."""
        self._log = log
        self._handle = handle
        self._batch = batch
        self._wait_behind = behind
        self._gather = gather
        self._gained = gained
        self._forget = forget
        self._most_waiting = most_waiting
        self.most_in_all = most_in_all
        self._parking = Parking(log)
        self._behind = Behind(log)
        self._offered: list[Lane] = []
        self._next: asyncio.TimerHandle | None = None
        self._telling: dict[asyncio.Task[None], set[TopicPartition]] = {}
        self._learning: set[asyncio.Task[Mapping[TopicPartition, _Begun]]] = set()
        self._some_parked = asyncio.Event()
        self.lanes: dict[TopicPartition, Lane] = {}
        self.handled = 0
        self.failures = 0
        self.delays = Delays()
        """Of the newest facts, from the log to the end of their handling, in seconds."""

    # -- what is seen of it --------------------------------------------------------------------------------------

    @property
    def halted(self) -> Mapping[TopicPartition, str]:
        """Partitions that cannot go on, and why."""
        return {place: lane.halted for place, lane in self.lanes.items() if lane.halted}

    @property
    def parked(self) -> Sequence[Parked]:
        """The aggregates of the partitions held whose facts wait."""
        return [parked for lane in self.lanes.values() for parked in lane.parked.values()]

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """The next offset of each partition held, everything before it handled."""
        return {place: lane.at.offset for place, lane in self.lanes.items()}

    @property
    def waiting(self) -> int:
        """Records in memory that are not handled yet."""
        return sum(len(lane.backlog) + lane.in_hand for lane in self.lanes.values())

    @property
    def behind(self) -> int:
        """Partitions of which something is read again."""
        return sum(lane.backlog.behind for lane in self.lanes.values())

    # -- what the group tells --------------------------------------------------------------------------------------

    def gain(self, starts: Mapping[TopicPartition, Start]) -> None:
        """Begin with these partitions."""
        share = None
        if self.most_in_all is not None:
            share = max(LEAST_SHARE, self.most_in_all // max(1, len(starts.keys() | self.lanes.keys())))
        lanes: dict[TopicPartition, Lane] = {}
        for place, start in starts.items():
            backlog = Backlog(
                self._log, place, start.common, self._most_waiting, again=self._behind.read, share=share
            )
            if start.standing.offset < start.common:
                backlog.read_again(start.standing.offset)
            begun = start.known or self._gained is None
            lane = Lane(start.standing, Fence(start.standing.epoch), backlog, start.standing, begun)
            lanes[place] = self.lanes[place] = lane
            if self._forget is not None:
                self._forget(place)
        told: asyncio.Task[None] | None = None
        if self._gained is not None:
            known = {place: start.known for place, start in starts.items()}
            told = asyncio.create_task(self._tell(self._gained, known))
            self._telling[told] = set(lanes)
            told.add_done_callback(self._telling.pop)
        learning = asyncio.create_task(self._learn(list(lanes)))
        self._learning.add(learning)
        learning.add_done_callback(self._learning.discard)
        for place, lane in lanes.items():
            lane.task = asyncio.create_task(self._work(place, lane, told, learning))

    async def _tell(self, gained: Gained, known: Mapping[TopicPartition, bool]) -> None:
        wait = 0.5
        while True:
            try:
                await gained(known)
                break
            except Exception:
                logger.exception("%s cannot begin yet", self.name)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 10.0)
        for place in known:
            if place not in self.lanes and self._forget is not None:
                self._forget(place)

    def lose(self, places: frozenset[TopicPartition]) -> None:
        """These are somebody else's now."""
        for told, waiting in list(self._telling.items()):
            waiting -= places
            if not waiting:
                told.cancel()
        for place in places:
            lane = self.lanes.pop(place, None)
            if lane is None:
                continue
            if lane.task is not None:
                lane.task.cancel()
            if self._forget is not None:
                self._forget(place)

    def offer(self, place: TopicPartition, batch: Sequence[Stored]) -> None:
        """What the member has read."""
        lane = self.lanes.get(place)
        if lane is None or lane.halted:
            return
        lane.backlog.offer(batch, wake=False)
        self._offered.append(lane)

    def go_on(self) -> None:
        """Let the longest lanes go of what is too much, and all go on that were offered something: together, and not
        sooner than `gather` after the last time."""
        while self.most_in_all is not None and self.waiting > self.most_in_all:
            longest = max(self.lanes.values(), key=lambda one: len(one.backlog)).backlog
            if not longest:
                break
            longest.let_go()
        if self._next is None and self._offered:
            for lane in self._offered:
                lane.backlog.wake()
            self._offered.clear()
            if self._gather:
                self._next = asyncio.get_running_loop().call_later(self._gather, self._gathered)

    def _gathered(self) -> None:
        self._next = None
        self.go_on()

    def shortened(self, places: frozenset[TopicPartition]) -> None:
        """The log holds less of them than was read."""
        for place in places:
            if (lane := self.lanes.get(place)) is not None:
                lane.backlog.shortened()

    def halt(self, place: TopicPartition, error: BaseException) -> None:
        """This partition waits for a person or another release; the others go on."""
        lane = self.lanes.get(place)
        if lane is not None:
            self._halt(place, lane, error)

    def tasks(self) -> list[asyncio.Task[Any]]:
        """All that is at work here."""
        lanes = [lane.task for lane in self.lanes.values() if lane.task is not None]
        return [*self._telling, *self._learning, *lanes, *self._behind.tasks()]

    def end(self) -> None:
        """The group is left: nothing is held any more."""
        self.lanes.clear()
        self._offered.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._ended is not None:
            self._ended()

    # -- one partition -----------------------------------------------------------------------------------------

    async def _work(
        self,
        place: TopicPartition,
        lane: Lane,
        told: asyncio.Task[None] | None,
        learning: asyncio.Task[Mapping[TopicPartition, _Begun]],
    ) -> None:
        try:
            if told is not None:
                await asyncio.wait([told])
            lane.begun = True
            self._moved()
            end, waiting = (await asyncio.shield(learning))[place]
            lane.parked = parked(waiting)
            if lane.parked:
                self._some_parked.set()
            if is_behind_the_end(lane.at.offset, lane.at.epoch, end):
                raise HaltError(f"our position is {lane.at.offset} of epoch {lane.at.epoch}: {_LOST_END}")
            lane.backlog.wake()
            while True:
                try:
                    await lane.backlog.wait()
                except LogUnavailableError as error:
                    logger.warning("%s waits at %s[%d]: %s", self.name, place.topic, place.partition, error)
                    await asyncio.sleep(0.5)
                    continue
                if lane.backlog.went_back:
                    raise HaltError(_LOST_END)
                # One by one: while one is tried again, another one may be asked for.
                while lane.retries:
                    aggregate = min(lane.retries)
                    lane.retries.discard(aggregate)
                    if (waits := lane.parked.get(aggregate)) is not None:
                        await self._retry(place, lane, waits)
                taken = lane.backlog.take(self._batch)
                # The common reading may have begun before us.
                new = [stored for stored in taken if stored.offset >= lane.at.offset]
                if new:
                    lane.in_hand = len(new)
                    await self._take(place, lane, new)
                    lane.in_hand = 0
        except (UnknownEventError, DamagedRecordError, LogDamagedError, HaltError) as error:
            self._halt(place, lane, error)
        except Exception as error:
            logger.exception("%s at %s[%d]", self.name, place.topic, place.partition)
            self._halt(place, lane, error)

    def standing(self, place: TopicPartition, lane: Lane) -> Standing:
        """What is to be committed. Who has halted stands where it was committed last."""
        if lane.halted:
            return lane.kept
        kept = None if self.keeper is None else self.keeper.unwritten(place)
        return Standing(*kept) if kept is not None and kept[0] < lane.at.offset else lane.at

    def has_moved(self, place: TopicPartition, lane: Lane) -> bool:
        """Whether that is something new."""
        if not lane.begun or lane.halted or (self._may_commit is not None and not self._may_commit(place)):
            return False
        return not (lane.committed and self.standing(place, lane) == lane.kept)

    @property
    def rests(self) -> bool:
        """Whether all that was taken is committed, and nothing is kept back."""
        return all(
            (lane.halted or not lane.begun or (lane.committed and lane.at == lane.kept))
            and (self.keeper is None or self.keeper.unwritten(place) is None)
            for place, lane in self.lanes.items()
        )

    def _halt(self, place: TopicPartition, lane: Lane, error: BaseException) -> None:
        if not lane.halted:
            logger.error("%s halts at %s[%d]: %s", self.name, place.topic, place.partition, error)
        lane.halted = str(error)
        lane.in_hand = 0
        lane.backlog.clear()

    async def _learn(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, _Begun]:
        """Where these partitions end now, and what is parked in them."""
        while True:
            try:
                ends = await self._log.ends(places)
                waiting = await self._parking.in_places(self.name)
                break
            except LogUnavailableError as error:
                logger.warning("%s begins later at %d partitions: %s", self.name, len(places), error)
                await asyncio.sleep(0.5)
        return {place: _Begun(ends[place], waiting.get(place, {})) for place in places}

    async def _take(self, place: TopicPartition, lane: Lane, taken: Sequence[Stored]) -> None:
        facts, halt = admitted(place, lane.fence, taken)
        if facts and self._wait_behind:
            age = (datetime.now(UTC) - facts[-1].written_at).total_seconds()
            if (wait := self._wait_behind - age) > 0:
                # All partitions at the same moments: what they then read is read together.
                at = asyncio.get_running_loop().time()
                await asyncio.sleep(math.ceil((at + wait) / STEP_BEHIND) * STEP_BEHIND - at)
        await self._until_done(place, lane, facts)
        if halt is not None:
            raise halt
        self.handled += len(facts)
        now = datetime.now(UTC)
        self.delays.note((now - fact.written_at).total_seconds() for fact in facts if fact.decision.events)
        # Together: a fence that has seen more than the position would drop valid decisions after a restart.
        lane.at = Standing(taken[-1].offset + 1, lane.fence.epoch)
        self._moved()

    def _moved(self) -> None:
        self.moved.set()
        if self.settled is not None:
            self.urgent.set()

    async def _until_done(self, place: TopicPartition, lane: Lane, facts: Sequence[Fact]) -> None:
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
        except (LogDamagedError, HaltError):
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
            except (TransientError, LogUnavailableError) as error:
                logger.warning("%s waits at %s[%d]: %s", self.name, place.topic, place.partition, error)
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
                except (UnknownEventError, DamagedRecordError, LogDamagedError, HaltError):
                    raise
                except Exception as error:
                    self._failed(place, error)
                    if not left:
                        return fact, error
                await asyncio.sleep(0.1)
        return None

    def _failed(self, place: TopicPartition, error: Exception) -> None:
        self.failures += 1
        logger.error("%s fails at %s[%d]", self.name, place.topic, place.partition, exc_info=error)

    # -- parked aggregates -------------------------------------------------------------------------------------

    def _parked(self, place: TopicPartition, fact: Fact, why: Exception) -> Parked:
        return Parked(
            group=self.name,
            topic=place.topic,
            partition=place.partition,
            aggregate=fact.aggregate,
            offset=fact.offset,
            epoch=fact.decision.epoch,
            reason=f"{type(why).__name__}: {why}"[:500],
            at=datetime.now(UTC),
        )

    async def _park(self, lane: Lane, parked: Parked) -> None:
        """Durable before the position moves past it."""
        await self._surely(lambda: self._parking.put(parked))
        lane.parked[parked.aggregate] = parked
        self._some_parked.set()
        logger.error(
            "%s parks %s at %s[%d]@%d: %s",
            self.name,
            parked.aggregate,
            parked.topic,
            parked.partition,
            parked.offset,
            parked.reason,
        )

    async def _retry(self, place: TopicPartition, lane: Lane, parked: Parked) -> None:
        """Hand over what waited, in order; it is parked anew where it cannot be."""
        fence = Fence(parked.epoch)
        while True:
            try:
                async with contextlib.aclosing(
                    stretch(self._log, place, parked.offset, lane.at.offset)
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
            except LogUnavailableError as error:
                logger.warning("%s waits at %s[%d]: %s", self.name, place.topic, place.partition, error)
                fence = Fence(parked.epoch)
            await asyncio.sleep(0.5)
        await self._surely(lambda: self._parking.release(parked))
        del lane.parked[parked.aggregate]
        logger.warning("%s goes on with %s", self.name, parked.aggregate)

    async def _surely(self, append: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await append()
                return
            except LogUnavailableError as error:
                logger.warning("%s: %s", self.name, error)
            await asyncio.sleep(0.5)

    async def look_for_retries(self) -> None:
        """Until cancelled."""
        while True:
            await self._some_parked.wait()
            await asyncio.sleep(PARKED_EVERY)
            if not any(lane.parked for lane in self.lanes.values()):
                self._some_parked.clear()
                continue
            try:
                known = await self._parking.of_group(self.name)
            except (LogUnavailableError, DamagedRecordError) as error:
                logger.warning("%s: %s", self.name, error)
                continue
            except Exception:
                # Whatever it is, nobody would miss us: what is parked would be tried again by nobody's word.
                logger.exception("%s cannot look for what is to be tried again", self.name)
                continue
            for lane in self.lanes.values():
                for aggregate, waits in lane.parked.items():
                    asked = known.get(waits.id)
                    if asked is not None and asked.retries > waits.retries:
                        lane.parked[aggregate] = asked
                        lane.retries.add(aggregate)
                        lane.backlog.wake()


def is_behind_the_end(offset: int, epoch: int, end: int) -> bool:
    """Whether a position, or the claim of its epoch, stands where the log has nothing: it has lost its end."""
    return offset > end or epoch >= max(end, 1)


_LOST_END = (
    "the log is shorter than what we have followed: it was restored or has lost its end; "
    "rebuild what follows from it (docs/operations.md)"
)
