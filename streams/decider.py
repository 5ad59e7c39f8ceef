"""The decider: every command becomes exactly one decision in the log.

What enters: the partitions of the commands topics that the group gives to this node. What leaves: decision records,
and, once each was read back, its reply and its downlinks. A partition is worked in three steps, again and again:

    claim    append a claim to the events partition; its offset is our epoch; load the states; fold up to the claim
    decide   take a batch, decide it on the state, append the decisions
    confirm  read them back; only then reply, send downlinks and move the position

Whatever fails, and any later claim by somebody else, leads back to the claim with all state dropped. It is one module
because these steps share a lane, and each way out of one leads into another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from eventsourcing.domain import OriginatorVersionError

from commands.base import Area, Meta
from domain.aggregate import UnknownEventError
from streams.channel import Channel
from streams.envelope import Claim, CommandRecord, DamagedRecordError, Decision, encode, raw, record
from streams.log import Listener, Log, LogUnavailable, Position, Record, Stored, TopicPartition
from streams.partition import Partition, Rules
from streams.portions import append_all
from streams.topology import PARTITIONS, commands_topic, events_topic, state_topic

logger = logging.getLogger(__name__)

Commit = Callable[[Mapping[TopicPartition, Position]], Awaitable[None]]
CHECKPOINT_KEY = b"\x00checkpoint"
SAVED_AT_ONCE = 200
"""States that are frozen between two batches of decisions; some 10 ms of the loop."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Every state up to events offset `folded` is in the state topic; what was known of the partition then.

    `since` is where the state topic ended when its writer (of this `epoch`) claimed the partition: a state of an
    older writer at or after it was written by a decider that had lost the partition meanwhile.
    """

    v: int = 1
    folded: int
    epoch: int
    decided_through: int
    since: int = 0


class _StaleStatesError(Exception):
    """What the state topic holds does not belong together: everything is to be folded from the beginning."""


class _LostError(Exception):
    """Somebody else claimed the partition, or an append of ours has an unknown outcome."""


@dataclass(slots=True)
class _Saving:
    """A checkpoint under way: the aggregates whose states are still to be written, and what they belong to."""

    mark: Checkpoint
    ids: frozenset[str]
    left: list[str]
    writing: asyncio.Task[None] | None = None


class _Lane:
    """One partition in our hands."""

    def __init__(self, area: Area, number: int, position: int) -> None:
        self.area = area
        self.number = number
        self.commands = TopicPartition(commands_topic(area), number)
        self.events = TopicPartition(events_topic(area), number)
        self.states = TopicPartition(state_topic(area), number)
        self.position = position
        self.committed = position
        self.queue: deque[Stored] = deque()
        self.wake = asyncio.Event()
        self.tail: deque[Stored] = deque()
        self.tail_wake = asyncio.Event()
        self.reading_from = -1
        self.states_since = 0
        self.partition: Partition | None = None
        self.task: asyncio.Task[None] | None = None
        self.saving: _Saving | None = None
        self.saved = time.monotonic()
        self.halted = ""

    def stop(self) -> None:
        """End what works on it."""
        if self.task is not None:
            self.task.cancel()
        self.forget_saving()

    def forget_saving(self) -> None:
        if self.saving is not None and self.saving.writing is not None:
            self.saving.writing.cancel()
        self.saving = None


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
        read_back_within: float = 10.0,
        hot: int = 2_000,
    ) -> None:
        self._log = log
        self._rules = rules
        self._channel = channel
        self._node = node
        self._clock = clock
        self._areas = {commands_topic(area): area for area in areas}
        self._batch = batch
        self._checkpoint_every = checkpoint_every
        self._commit_every = commit_every
        self._read_back_within = read_back_within
        self._hot = hot
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._tails: dict[TopicPartition, _Lane] = {}
        self._reassign = asyncio.Event()
        self._room = asyncio.Event()
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
                asyncio.create_task(self._read_back()),
                asyncio.create_task(self._tell_time()),
                asyncio.create_task(self._commit_forever(member.commit)),
            ]
            while True:
                try:
                    records = await member.poll(1.0, 2000)
                except LogUnavailable as error:
                    logger.warning("decider: %s", error)
                    await asyncio.sleep(0.5)
                    continue
                for task in tasks:
                    if task.done():
                        task.result()
                for place, batch in records.items():
                    lane = self._lanes.get(place)
                    if lane is not None and not lane.halted:
                        lane.queue.extend(batch)
                        lane.wake.set()
                while any(len(lane.queue) > 10_000 for lane in self._lanes.values()):
                    self._room.clear()
                    await self._room.wait()
        finally:
            for lane in self._lanes.values():
                lane.stop()
                if lane.task is not None:
                    tasks.append(lane.task)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(LogUnavailable, TimeoutError):
                await asyncio.wait_for(self._commit(member.commit), 2)
            self._lanes.clear()
            self._tails.clear()
            await member.close()

    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        for place, position in positions.items():
            lane = _Lane(self._areas[place.topic], place.partition, position.offset)
            self._lanes[place] = lane
            self._tails[lane.events] = lane
            # Not all partitions at the same moment.
            lane.saved -= self._checkpoint_every * place.partition / PARTITIONS
            lane.task = asyncio.create_task(self._work(lane))

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        for place in places:
            lane = self._lanes.pop(place, None)
            if lane is not None:
                self._tails.pop(lane.events, None)
                lane.stop()
        self._reassign.set()
        self._room.set()

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

    # -- one partition -----------------------------------------------------------------------------------------

    async def _work(self, lane: _Lane) -> None:
        wait = 0.05
        while True:
            try:
                lane.partition = None
                lane.forget_saving()
                async with self._claiming:
                    partition = await self._claim(lane)
                lane.partition = partition
                wait = 0.05
                while True:
                    await lane.wake.wait()
                    await self._decide(lane, partition)
            except (_LostError, LogUnavailable) as error:
                logger.warning("%s[%d] is claimed again: %s", lane.commands.topic, lane.number, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 2.0) if isinstance(error, LogUnavailable) else 0.5
            except (UnknownEventError, DamagedRecordError) as error:
                self._halt(lane, str(error))
                return
            except Exception as error:
                logger.exception("%s[%d]", lane.events.topic, lane.number)
                self._halt(lane, f"{type(error).__name__}: {error}")
                return

    def _halt(self, lane: _Lane, why: str) -> None:
        """This partition waits for a person or another release; the others go on."""
        logger.error("%s[%d] halts: %s", lane.events.topic, lane.number, why)
        lane.partition = None
        lane.halted = why
        lane.queue.clear()
        lane.tail.clear()
        self._room.set()

    async def _claim(self, lane: _Lane) -> Partition:
        self.claims += 1
        owner = f"{self._node}/{self._channel.boot}"
        [epoch] = await self._log.append(
            lane.events.topic, lane.number, [Record(None, encode(Claim(owner=owner)))]
        )
        partition = Partition(self._rules, self._hot)
        partition.epoch = epoch
        try:
            await self._load(lane, partition)
            unanswered = await self._fold(lane, partition, epoch)
        except (_StaleStatesError, OriginatorVersionError) as error:
            # The states are a cache; the events are not.
            logger.warning("%s[%d] is folded from its beginning: %s", lane.events.topic, lane.number, error)
            partition = Partition(self._rules, self._hot)
            partition.epoch = epoch
            unanswered = await self._fold(lane, partition, epoch)
        lane.tail.clear()
        lane.reading_from = epoch + 1
        self._reassign.set()
        for decision in unanswered:
            self._emit(decision)
        return partition

    async def _load(self, lane: _Lane, partition: Partition) -> None:
        """The states, and the checkpoint that says from where on events are to be folded."""
        lane.states_since = (await self._log.ends([lane.states]))[lane.states]
        newest: dict[bytes, Stored] = {}
        async with contextlib.aclosing(self._all(lane.states, until=lane.states_since - 1)) as records:
            async for stored in records:
                if stored.key is not None:
                    newest[stored.key] = stored
        mark = newest.pop(CHECKPOINT_KEY, None)
        if mark is None or mark.value is None:
            return
        checkpoint = msgspec.json.decode(mark.value, type=Checkpoint)
        partition.folded = checkpoint.folded
        partition.fence.epoch = checkpoint.epoch
        partition.decided_through = checkpoint.decided_through
        for stored in newest.values():
            if stored.value is None:
                continue
            writer = partition.load(stored.value)
            if writer < checkpoint.epoch and stored.offset >= checkpoint.since:
                raise _StaleStatesError(
                    f"{stored.key!r} was written by a decider that had lost the partition"
                )

    async def _fold(self, lane: _Lane, partition: Partition, until: int) -> list[Decision]:
        """Fold up to our claim; returns the decisions on commands whose position was never committed."""
        unanswered: list[Decision] = []
        async with contextlib.aclosing(self._all(lane.events, partition.folded, until)) as records:
            count = 0
            async for stored in records:
                decision = partition.fold(stored)
                if decision is not None and decision.command_offset >= lane.committed:
                    unanswered.append(decision)
                partition.states.shrink()
                count += 1
                if count % 200 == 0:
                    await asyncio.sleep(0)  # connections of this process are served meanwhile
        if partition.folded <= until:
            raise LogUnavailable(
                f"{lane.events.topic}[{lane.number}] could be read up to {partition.folded}, not to {until}"
            )
        if partition.fence.epoch > until:
            raise _LostError("a later claim stands in the log")
        return unanswered

    async def _all(
        self, place: TopicPartition, start: int = 0, until: int | None = None
    ) -> AsyncGenerator[Stored, None]:
        """Every record of a partition from `start` to `until` (inclusive), or to its end as it is now."""
        if until is None:
            until = (await self._log.ends([place]))[place] - 1
        first = (await self._log.beginnings([place]))[place]
        at = max(start, first)
        if at > until:
            return
        reader = self._log.reader()
        silent = 0
        try:
            await reader.assign({place: at})
            while at <= until:
                batch = (await reader.poll(1.0, 5000)).get(place, ())
                silent = 0 if batch else silent + 1
                if silent > 2:
                    # Compaction may have removed the last offsets; who needs all of them checks that they came.
                    return
                for stored in batch:
                    if stored.offset > until:
                        return
                    yield stored
                    at = stored.offset + 1
        finally:
            await reader.close()

    async def _decide(self, lane: _Lane, partition: Partition) -> None:
        now = self._clock()
        taken: list[Stored] = []
        while lane.queue and len(taken) < self._batch:
            taken.append(lane.queue.popleft())
        if not lane.queue:
            lane.wake.clear()
        self._room.set()
        if not taken:
            self._save(lane, partition)
            return
        decisions = [decision for stored in taken if (decision := partition.decide(stored, now)) is not None]
        if decisions:
            self.lag_seconds = max(0.0, (now - decisions[0].meta.at).total_seconds())
            try:
                offsets = await append_all(
                    self._log,
                    lane.events.topic,
                    lane.number,
                    [record(d.reply.aggregate, d, d.meta.tenant) for d in decisions],
                )
            except LogUnavailable:
                lane.queue.extendleft(reversed(taken))
                lane.wake.set()
                raise
            await self._confirm(lane, partition, offsets[-1], taken)
        lane.position = taken[-1].offset + 1
        partition.states.shrink()
        self._save(lane, partition)

    async def _confirm(self, lane: _Lane, partition: Partition, last: int, taken: Sequence[Stored]) -> None:
        """Read our own records back; replies, downlinks and the position follow from what was read."""
        deadline = time.monotonic() + self._read_back_within
        while partition.folded <= last:
            if not lane.tail:
                lane.tail_wake.clear()
                try:
                    async with asyncio.timeout(max(0.01, deadline - time.monotonic())):
                        await lane.tail_wake.wait()
                except TimeoutError:
                    lane.queue.extendleft(reversed(taken))
                    lane.wake.set()
                    raise LogUnavailable("our own decisions could not be read back") from None
                continue
            stored = lane.tail.popleft()
            if stored.offset < partition.folded:
                continue
            decision = partition.fence.admit(stored)
            partition.folded = stored.offset + 1
            if partition.fence.epoch != partition.epoch:
                lane.queue.extendleft(reversed(taken))
                lane.wake.set()
                raise _LostError("another decider claimed it")
            if decision is not None:
                self.decided += 1
                self.repeats += decision.repeat
                self._emit(decision)

    def _emit(self, decision: Decision) -> None:
        if decision.reply_to is not None:
            self._channel.reply(decision.reply_to, decision.reply)
        for downlink in decision.downlinks:
            self._channel.downlink(downlink)

    def _is_to_be_saved(self, lane: _Lane) -> bool:
        return time.monotonic() - lane.saved > self._checkpoint_every

    def _save(self, lane: _Lane, partition: Partition) -> None:
        """Begin a checkpoint that is due, or go on with it; called while no decision is in the air.

        Some states at a time are frozen and written beside the decisions, the mark comes last. A state may then be
        younger than its mark: what it holds already, folding passes over.
        """
        saving = lane.saving
        if saving is None:
            if not self._is_to_be_saved(lane):
                return
            lane.saved = time.monotonic()
            if not partition.states.dirty:
                return
            dirty, partition.states.dirty = partition.states.dirty, set()
            mark = Checkpoint(
                folded=partition.folded,
                epoch=partition.epoch,
                decided_through=partition.decided_through,
                since=lane.states_since,
            )
            saving = lane.saving = _Saving(mark, frozenset(dirty), list(dirty))
        elif saving.writing is not None:
            if not saving.writing.done():
                return
            if error := saving.writing.exception():
                logger.warning("%s[%d] is not saved: %s", lane.states.topic, lane.number, error)
                partition.states.dirty |= saving.ids
                saving.left.clear()
            if not saving.left:
                lane.saving = None
                return
        ids, saving.left = saving.left[:SAVED_AT_ONCE], saving.left[SAVED_AT_ONCE:]
        records = [Record(id.encode(), partition.states.frozen(id, partition.epoch)) for id in ids]
        if not saving.left:
            records.append(Record(CHECKPOINT_KEY, encode(saving.mark)))
        saving.writing = asyncio.create_task(self._write(lane, records))
        saving.writing.add_done_callback(lambda _: lane.wake.set())

    async def _write(self, lane: _Lane, records: Sequence[Record]) -> None:
        async with self._checkpointing:
            await append_all(self._log, lane.states.topic, lane.number, records)

    # -- around the partitions -----------------------------------------------------------------------------------

    async def _read_back(self) -> None:
        """One reader for the events of all partitions that we hold."""
        reader = self._log.reader()
        at: dict[TopicPartition, int] = {}
        try:
            while True:
                if self._reassign.is_set():
                    self._reassign.clear()
                    wanted: dict[TopicPartition, int] = {}
                    for place, lane in self._tails.items():
                        if lane.reading_from >= 0:
                            wanted[place] = lane.reading_from
                            lane.reading_from = -1
                        elif place in at:
                            wanted[place] = at[place]
                    at = wanted
                    while True:
                        try:
                            await reader.assign(at)
                            break
                        except LogUnavailable as error:
                            logger.warning("decider, reading back: %s", error)
                            await asyncio.sleep(0.2)
                if not at:
                    await self._reassign.wait()
                    continue
                try:
                    batches = await reader.poll(0.1, 5000)
                except LogUnavailable as error:
                    logger.warning("decider, reading back: %s", error)
                    await asyncio.sleep(0.2)
                    continue
                for place, batch in batches.items():
                    at[place] = batch[-1].offset + 1
                    held = self._tails.get(place)
                    if held is not None and held.reading_from < 0 and not held.halted:
                        held.tail.extend(batch)
                        held.tail_wake.set()
        finally:
            await reader.close()

    async def _tell_time(self) -> None:
        """Append the timers that are due to our own commands partitions."""
        while True:
            await asyncio.sleep(0.1)
            now = self._clock()
            for lane in list(self._lanes.values()):
                partition = lane.partition
                if partition is None:
                    continue
                if lane.saving is None and partition.states.dirty and self._is_to_be_saved(lane):
                    lane.wake.set()
                if partition.next_due is None or partition.next_due > now:
                    continue
                try:
                    due = partition.due(now)
                except Exception as error:
                    lane.stop()
                    logger.exception("%s[%d]", lane.states.topic, lane.number)
                    self._halt(lane, f"{type(error).__name__}: {error}")
                    continue
                try:
                    for start in range(0, len(due), 200):
                        await self._log.append(
                            lane.commands.topic,
                            lane.number,
                            [
                                record(
                                    timer.aggregate,
                                    CommandRecord(
                                        aggregate=timer.aggregate,
                                        meta=Meta(
                                            command_id=f"timer|{timer.aggregate}|{timer.due.isoformat()}",
                                            at=now,
                                            tenant=partition.tenant_of(timer.aggregate),
                                        ),
                                        command=raw(timer),
                                    ),
                                    partition.tenant_of(timer.aggregate),
                                )
                                for timer in due[start : start + 200]
                            ],
                        )
                except LogUnavailable as error:
                    logger.warning("timers: %s", error)
                    partition.ask_again(due)

    async def _commit_forever(self, commit: Commit) -> None:
        while True:
            await asyncio.sleep(self._commit_every)
            try:
                await self._commit(commit)
            except LogUnavailable as error:
                logger.warning("decider: %s", error)

    async def _commit(self, commit: Commit) -> None:
        moved = {
            place: Position(lane.position)
            for place, lane in self._lanes.items()
            if lane.position > lane.committed
        }
        if moved:
            await commit(moved)
            for place, position in moved.items():
                if place in self._lanes:
                    self._lanes[place].committed = position.offset
