"""The decider: every command becomes exactly one decision in the log.

What enters: the partitions of the commands topics that the group gives to this node. What leaves: decision records,
and, once each is proven to count, its reply and its downlinks. A partition is worked in three steps, again and again:

    claim   append a claim to the events partition; its offset is our epoch; load the states; fold up to the claim
    decide  take a batch, decide it on the state, append the decisions
    prove   they stand right behind what we know of: nobody has claimed it; only then reply, send downlinks, move on

Whatever fails, and any later claim by somebody else, leads back to the claim with all state dropped. It is one module
because these steps share a lane, and each way out of one leads into another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from commands.base import Area, Meta
from domain.aggregate import UnknownEventError
from streams.deciding.channel import Channel
from streams.deciding.checkpoints import Saver
from streams.deciding.claims import Claims, LostError, Places, Resend
from streams.deciding.feed import Feed
from streams.deciding.partition import ForgottenError, Partition, Rules, Told
from streams.deciding.states import UnreadableStateError
from streams.following.backlog import Backlog
from streams.log import (
    Listener,
    Log,
    LogDamagedError,
    LogShortenedError,
    LogUnavailableError,
    Position,
    Record,
    Stored,
    TopicPartition,
    stored_as,
)
from streams.log.batching import portions
from streams.log.envelope import (
    CommandRecord,
    DamagedRecordError,
    Decision,
    NewerReleaseError,
    raw,
    record,
)
from streams.log.ranges import stretch
from streams.log.topology import commands_topic

logger = logging.getLogger(__name__)

Commit = Callable[[Mapping[TopicPartition, Position]], Awaitable[None]]
NEVER = datetime.max.replace(tzinfo=UTC)
SHORTEST_LOOK, LONGEST_LOOK = 0.02, 5.0
"""Seconds between two looks whether a timer is due or a state is to be saved."""


class _Lane:
    """One partition in our hands."""

    def __init__(self, places: Places, position: Position, backlog: Backlog, saver: Saver) -> None:
        self.places = places
        self.position = position.offset
        self.committed = position
        self.followed = followed(position)
        self.backlog = backlog
        self.saver = saver
        self.partition: Partition | None = None
        self.trusts_states = True
        self.task: asyncio.Task[None] | None = None
        self.halted = ""

    def stop(self) -> None:
        """End what works on it."""
        if self.task is not None:
            self.task.cancel()
        self.saver.stop()


class Decider(Listener):
    """`run` until cancelled. One a process; it shares the partitions of its areas with the other deciders."""

    def __init__(
        self,
        log: Log,
        rules: Rules,
        channel: Channel,
        node: str,
        clock: Callable[[], datetime],
        *,
        areas: Sequence[Area] = tuple(Area),
        batch: int = 500,
        checkpoint_every: float = 30.0,
        commit_every: float = 0.5,
        hot: int = 2_000,
        resend: Resend | None = None,
        feed: Feed | None = None,
    ) -> None:
        self._log = log
        self._channel = channel
        self._node = node
        self._clock = clock
        self._areas = {commands_topic(area): area for area in areas}
        self._batch = batch
        self._checkpoint_every = checkpoint_every
        self._commit_every = commit_every
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._claims = Claims(log, rules, f"{node}/{channel.boot}", hot, resend)
        self._earlier = asyncio.Event()
        self._looks_at = NEVER
        self._feed = feed
        self._moved = asyncio.Event() if feed is None else feed.moved
        """Set when a position has moved that is not committed yet."""
        self._claiming = asyncio.Semaphore(8)
        self._checkpointing = asyncio.Semaphore(1)
        self.decided = 0
        self.repeats = 0
        self.claims = 0
        self.lag_seconds = 0.0

    async def run(self) -> None:
        """Decide until cancelled."""
        member = self._log.member("decider", tuple(self._areas), self._node, self)
        tasks: list[asyncio.Task[None]] = []
        try:
            await member.start()
            tasks = [
                asyncio.create_task(self._tell_time()),
                asyncio.create_task(self._commit_forever(member.commit)),
            ]
            while True:
                try:
                    records = await member.poll(1.0, 2000)
                except LogShortenedError as error:
                    for place in error.places:
                        if (shortened := self._lanes.get(place)) is not None:
                            shortened.backlog.shortened()
                    continue
                except LogUnavailableError as error:
                    logger.warning("decider: %s", error)
                    await asyncio.sleep(0.5)
                    continue
                except LogDamagedError as error:
                    self._halt_damaged(error)
                    continue
                for task in tasks:
                    if task.done():
                        task.result()
                for place, batch in records.items():
                    lane = self._lanes.get(place)
                    if lane is not None and not lane.halted:
                        lane.backlog.offer(batch)
        finally:
            for lane in self._lanes.values():
                lane.stop()
                if lane.task is not None:
                    tasks.append(lane.task)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(LogUnavailableError, TimeoutError):
                async with asyncio.timeout(2):
                    await self._commit(member.commit)
            await self.lost(frozenset(self._lanes))
            await member.close()

    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        for place, position in positions.items():
            places = Places(self._areas[place.topic], place.partition)
            backlog = Backlog(self._log, place, position.offset)
            saver = Saver(self._log, places.states, self._checkpoint_every, backlog.wake, self._checkpointing)
            # Not all partitions at the same moment.
            saver.saved_at -= self._checkpoint_every * place.partition / self._log.layout.partitions
            lane = _Lane(places, position, backlog, saver)
            self._lanes[place] = lane
            lane.task = asyncio.create_task(self._work(lane))

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        for place in places:
            lane = self._lanes.pop(place, None)
            if lane is not None:
                lane.stop()
                if self._feed is not None:
                    await self._feed.end(lane.places.events)

    @property
    def halted(self) -> Mapping[TopicPartition, str]:
        """Partitions that cannot go on, and why."""
        return {place: lane.halted for place, lane in self._lanes.items() if lane.halted}

    @property
    def ready(self) -> bool:
        """Whether every partition that we hold has been claimed and folded."""
        return all(lane.partition is not None for lane in self._lanes.values())

    @property
    def held(self) -> int:
        return len(self._lanes)

    def checkpoint(self) -> None:
        """Begin a checkpoint of every partition that we hold."""
        for lane in self._lanes.values():
            lane.saver.begin()

    # -- one partition -----------------------------------------------------------------------------------------

    async def _work(self, lane: _Lane) -> None:
        wait = 0.05
        while True:
            try:
                lane.partition = None
                lane.saver.stop()
                async with self._claiming:
                    partition = await self._claim(lane)
                lane.partition = partition
                self._earlier.set()
                wait = 0.05
                while True:
                    await lane.backlog.wait()
                    await self._decide(lane, partition)
            except UnreadableStateError as error:
                lane.trusts_states = False
                logger.warning("%s[%d] is folded from its beginning: %s", *lane.places.events, error)
            except (LostError, LogUnavailableError) as error:
                logger.warning("%s[%d] is claimed again: %s", *lane.places.commands, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 2.0) if isinstance(error, LogUnavailableError) else 0.5
            except LogDamagedError as error:
                if error.place != lane.places.states or not lane.trusts_states:
                    self._halt(lane, str(error))
                    return
                lane.trusts_states = False
                logger.error("%s[%d] is folded from its beginning: %s", *lane.places.events, error)
            except (UnknownEventError, DamagedRecordError, NewerReleaseError) as error:
                self._halt(lane, str(error))
                return
            except Exception as error:
                logger.exception("%s[%d]", *lane.places.events)
                self._halt(lane, f"{type(error).__name__}: {error}")
                return

    def _halt(self, lane: _Lane, why: str) -> None:
        """This partition waits for a person or another release; the others go on."""
        logger.error("%s[%d] halts: %s", *lane.places.events, why)
        lane.partition = None
        lane.halted = why
        lane.backlog.clear()

    def _halt_damaged(self, error: LogDamagedError) -> None:
        lane = None if error.place is None else self._lanes.get(error.place)
        if lane is None:
            raise error
        if not lane.halted:
            lane.stop()
            self._halt(lane, str(error))

    async def _claim(self, lane: _Lane) -> Partition:
        self.claims += 1
        backlog = lane.backlog
        went_back, backlog.went_back = backlog.went_back, False
        try:
            claimed = await self._claims.claim(
                lane.places, lane.committed.offset, trust_states=lane.trusts_states
            )
        except BaseException:
            backlog.went_back = backlog.went_back or went_back
            raise
        lane.trusts_states = True
        lane.saver.since = claimed.states_since
        if claimed.cut or went_back:
            # What waited may be gone, and what was forgotten may still stand there.
            backlog.read_again(min(lane.position, claimed.partition.decided_through + 1))
        backlog.put_back(claimed.missed)
        for decision in claimed.unanswered:
            self._emit(decision)
        if self._feed is not None:
            self._note_followed(lane)
            await self._feed.begin(lane.places.events, lane.followed, claimed.claim)
        return claimed.partition

    async def _decide(self, lane: _Lane, partition: Partition) -> None:
        if lane.backlog.went_back:
            raise LostError("its commands were given again: they may have lost their end")
        now = self._clock()
        taken = lane.backlog.take(self._batch)
        if taken:
            try:
                await self._decide_all(lane, partition, taken, now)
            except BaseException:
                lane.backlog.put_back(taken)
                raise
            lane.position = max(lane.position, taken[-1].offset + 1)
            self._moved.set()
            partition.states.shrink()
        lane.saver.go_on(partition)
        saving_in = lane.saver.due_in(partition)
        saving_at = None if saving_in is None else now + timedelta(seconds=saving_in)
        if any(due is not None and due < self._looks_at for due in (partition.next_due, saving_at)):
            self._earlier.set()

    async def _decide_all(
        self, lane: _Lane, partition: Partition, taken: Sequence[Stored], now: datetime
    ) -> None:
        """Raises NewerReleaseError where only a newer release knows one of them; those before it are decided then."""
        todo = deque(taken)
        while todo:
            try:
                await self._decide_some(lane, partition, todo, now)
            except ForgottenError as error:
                await self._claims.look_up(lane.places, partition, error.aggregate)

    async def _decide_some(
        self, lane: _Lane, partition: Partition, todo: deque[Stored], now: datetime
    ) -> None:
        """Up to one that cannot be decided now; raises why it cannot."""
        decisions: list[Decision] = []
        stopped: NewerReleaseError | ForgottenError | None = None
        while todo:
            try:
                decision = partition.decide(todo[0], now)
            except (NewerReleaseError, ForgottenError) as error:
                stopped = error
                break
            todo.popleft()
            if decision is not None:
                decisions.append(decision)
        if decisions:
            self.lag_seconds = max(0.0, (now - decisions[0].meta.at).total_seconds())
            await self._append(lane, partition, decisions)
        if stopped is not None:
            raise stopped

    async def _append(self, lane: _Lane, partition: Partition, decisions: Sequence[Decision]) -> None:
        """Append them; replies and downlinks follow from what is proven to stand right behind what was folded."""
        records = [record(d.reply.aggregate, d, d.meta.tenant) for d in decisions]
        done = 0
        for portion in portions(records):
            offsets = await self._log.append(*lane.places.events, portion)
            await self._prove(lane.places.events, partition, offsets[0])
            partition.folded = offsets[-1] + 1
            if self._feed is not None:
                place = lane.places.events
                self._feed.offer(place, stored_as(place, offsets, portion, partition.time))
            for decision in decisions[done : done + len(portion)]:
                self.decided += 1
                self.repeats += decision.repeat
                self._emit(decision)
            done += len(portion)

    async def _prove(self, place: TopicPartition, partition: Partition, offset: int) -> None:
        """That nobody has claimed the partition before this offset, at which the log has taken what we decided.

        As a rule it is the next one. What came in between is read: a decider that had lost the partition may have
        written it, or one that has claimed it. Raises LostError, LogUnavailableError, and what halts a partition.
        """
        if offset < partition.folded:
            raise LostError(
                f"its events were taken at {offset}, {partition.folded} was next: it has lost its end"
            )
        if offset == partition.folded:
            return
        async with contextlib.aclosing(stretch(self._log, place, partition.folded, offset)) as batches:
            async for batch in batches:
                for stored in batch:
                    partition.fence.admit(stored)
        if partition.fence.epoch != partition.epoch:
            raise LostError("another decider claimed it")

    def _emit(self, decision: Decision) -> None:
        if decision.reply_to is not None:
            self._channel.reply(decision.reply_to, decision.reply)
        for downlink in decision.downlinks:
            self._channel.downlink(downlink)

    # -- around the partitions -----------------------------------------------------------------------------------

    async def _tell_time(self) -> None:
        """Append the timers that are due to our own commands partitions; wake who is to be saved."""
        while True:
            # What changes while we look is looked at again.
            self._earlier.clear()
            self._looks_at = NEVER
            now = self._clock()
            wait = LONGEST_LOOK
            for lane in list(self._lanes.values()):
                partition = lane.partition
                if partition is None:
                    continue
                saving_in = lane.saver.due_in(partition)
                if saving_in is not None and saving_in <= 0:
                    lane.backlog.wake()
                elif saving_in is not None:
                    wait = min(wait, saving_in)
                if partition.next_due is not None and partition.next_due <= now:
                    await self._tell(lane, partition, now)
                if partition.next_due is not None:
                    wait = min(wait, (partition.next_due - now).total_seconds())
            self._looks_at = self._clock() + timedelta(seconds=wait)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(SHORTEST_LOOK, wait)):
                    await self._earlier.wait()

    async def _tell(self, lane: _Lane, partition: Partition, now: datetime) -> None:
        try:
            due = partition.due(now)
        except UnreadableStateError as error:
            logger.warning("%s[%d]: %s", *lane.places.states, error)
            lane.trusts_states = False
            lane.backlog.went_back = True
            lane.backlog.wake()
            return
        try:
            for start in range(0, len(due), 200):
                await self._log.append_patiently(
                    *lane.places.commands, [_timer_record(told, now) for told in due[start : start + 200]]
                )
        except LogUnavailableError as error:
            logger.warning("timers: %s", error)
            partition.ask_again(due)

    async def _commit_forever(self, commit: Commit) -> None:
        while True:
            await self._moved.wait()
            await asyncio.sleep(self._commit_every)
            self._moved.clear()
            try:
                await self._commit(commit)
            except LogUnavailableError as error:
                logger.warning("decider: %s", error)
                self._moved.set()

    async def _commit(self, commit: Commit) -> None:
        moved: dict[TopicPartition, Position] = {}
        for place, lane in self._lanes.items():
            self._note_followed(lane)
            position = Position(lane.position, _noted(lane.followed))
            if position != lane.committed:
                moved[place] = position
        if moved:
            await commit(moved)
            for place, position in moved.items():
                if place in self._lanes:
                    self._lanes[place].committed = position

    def _note_followed(self, lane: _Lane) -> None:
        position = None if self._feed is None else self._feed.position(lane.places.events)
        if position is not None:
            lane.followed = position


def _noted(followed: Position) -> str:
    """What stands beside a position in the commands: up to where processes have followed what was decided."""
    return f"{followed.offset} {followed.note}" if followed.offset else ""


def followed(position: Position) -> Position:
    """Where processes go on in the events, by the decider's position in the commands."""
    offset, _, note = position.note.partition(" ")
    return Position(int(offset or 0), note)


def _timer_record(told: Told, now: datetime) -> Record:
    """The command by which an aggregate learns that its time has come; its tenant's, and a story of its own."""
    timer, id = told.timer, f"timer|{told.timer.aggregate}|{told.timer.due.isoformat()}"
    meta = Meta(
        command_id=f"{id}|{told.attempt}" if told.attempt else id,
        at=now,
        tenant=told.tenant,
        correlation_id=id,
        principal="timer",
    )
    command = CommandRecord(aggregate=timer.aggregate, meta=meta, command=raw(timer))
    return record(timer.aggregate, command, told.tenant)
