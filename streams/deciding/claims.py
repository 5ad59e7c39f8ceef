"""Taking a partition: a claim is appended, and everything up to it is folded.

What enters: the number of a partition that the group gave to this node. What leaves: its state, ready to be decided
on, and the decisions whose commands may not have been answered. The commands topic is held against what was decided:
where it has lost its end, commands count anew from there, and what processes had sent into that end is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from eventsourcing.domain import OriginatorVersionError

from commands.base import Area
from domain.errors import ChargeSphereError
from streams.deciding.checkpoints import CHECKPOINT_KEY, Checkpoint
from streams.deciding.partition import Partition, Rules
from streams.deciding.states import UnreadableStateError
from streams.log import Log, LogDamagedError, LogUnavailableError, Record, Stored, TopicPartition, stored_as
from streams.log.envelope import (
    VERSION,
    Claim,
    DamagedRecordError,
    Decision,
    Fence,
    NewerReleaseError,
    decode_command,
    decode_entry,
    encode,
)
from streams.log.ranges import newest, stretch
from streams.log.topology import commands_topic, events_topic, state_topic

logger = logging.getLogger(__name__)

Resend = Callable[[TopicPartition, datetime | None], Awaitable[None]]
"""Send again what processes had sent into this commands partition since a time (None: ever)."""


class LostError(ChargeSphereError):
    """Somebody else claimed the partition, or what we did to it has an unknown outcome: it is to be claimed again."""


class _StaleStatesError(ChargeSphereError):
    """What the state topic holds does not belong together: everything is to be folded from the beginning."""


class Places:
    """One partition in the three topics of its area."""

    __slots__ = ("area", "commands", "events", "states")

    def __init__(self, area: Area, number: int) -> None:
        self.area = area
        self.commands = TopicPartition(commands_topic(area), number)
        self.events = TopicPartition(events_topic(area), number)
        self.states = TopicPartition(state_topic(area), number)


@dataclass(slots=True)
class Claimed:
    """A partition of ours.

    `states_since`: where its state topic ended; `missed`: commands before the group's position that were never
    decided; `cut`: what was given of the commands may not stand there any more.
    """

    partition: Partition
    claim: Stored
    states_since: int = 0
    unanswered: list[Decision] = field(default_factory=list)
    missed: list[Stored] = field(default_factory=list)
    cut: bool = False


class Claims:
    """How a node claims. `resend` may be missing where no process sends commands."""

    def __init__(self, log: Log, rules: Rules, owner: str, hot: int, resend: Resend | None = None) -> None:
        self._log = log
        self._rules = rules
        self._owner = owner
        self._hot = hot
        self._resend = resend

    async def claim(self, places: Places, position: int, *, trust_states: bool = True) -> Claimed:
        """Append a claim and fold up to it; `position` is the group's in the commands topic.

        Raises LostError, LogUnavailableError, and what halts a partition: DamagedRecordError, UnknownEventError.
        """
        commands_from = -1
        while True:
            claimed = await self._take(places, position, commands_from, trust_states=trust_states)
            cut = await self._cut(places, claimed.partition)
            if cut is None:
                break
            logger.error(
                "%s[%d] has lost its end: commands count anew from %d; what was acknowledged behind it is gone",
                *places.commands,
                cut,
            )
            if self._resend is not None:
                # Before the claim that says so: whoever claims after a kill in between does it again.
                await self._resend(places.commands, await self._time_before(places.commands, cut))
            commands_from = cut
        first = claimed.partition.decided_through + 1
        claimed.cut = commands_from >= 0
        if first < position and not claimed.cut:
            # A topic that has lost its end may be shorter than the group's position.
            end = min(position, (await self._log.ends([places.commands]))[places.commands])
            async with contextlib.aclosing(stretch(self._log, places.commands, first, end)) as batches:
                async for batch in batches:
                    claimed.missed.extend(batch)
        return claimed

    async def _take(
        self, places: Places, position: int, commands_from: int, *, trust_states: bool
    ) -> Claimed:
        claim = Claim(owner=self._owner, commands_from=commands_from)
        claims = [Record(None, encode(claim))]
        [epoch] = await self._log.append(*places.events, claims)
        [stored] = stored_as(places.events, [epoch], claims, datetime.now(UTC))
        if trust_states:
            try:
                claimed = Claimed(self._blank(epoch), stored)
                claimed.states_since = (await self._log.ends([places.states]))[places.states]
                standing = await self._load(places, claimed.partition, epoch, claimed.states_since)
                claimed.unanswered = await self._fold(places, claimed.partition, epoch, position)
                if standing is not None:
                    claimed.partition.folded_anew(standing)
                return claimed
            except (_StaleStatesError, OriginatorVersionError, UnreadableStateError) as error:
                # The states are a cache; the events are not.
                logger.warning("%s[%d] is folded from its beginning: %s", *places.events, error)
        claimed = Claimed(self._blank(epoch), stored)
        claimed.states_since = (await self._log.ends([places.states]))[places.states]
        try:
            claimed.unanswered = await self._fold(places, claimed.partition, epoch, position)
            claimed.partition.folded_anew(await self._standing(places))
        except OriginatorVersionError as error:
            place, at = places.events, claimed.partition.folded - 1
            raise DamagedRecordError(
                f"{place.topic}[{place.partition}]@{at}: {error}: records before it are missing, restore the "
                "partition with its offsets (docs/operations.md)"
            ) from None
        return claimed

    def _blank(self, epoch: int) -> Partition:
        partition = Partition(self._rules, self._hot)
        partition.epoch = epoch
        return partition

    async def _load(
        self, places: Places, partition: Partition, epoch: int, end: int
    ) -> Collection[bytes] | None:
        """The states up to `end`, and what has come since, and the checkpoint that says from where on events are to
        be folded; without one, the keys that stand there all the same."""
        found = await newest(self._log, places.states, end)
        mark = found.pop(CHECKPOINT_KEY, None)
        if mark is None or mark.value is None:
            return _standing(found)
        try:
            checkpoint = msgspec.json.decode(mark.value, type=Checkpoint)
        except msgspec.DecodeError as error:
            raise _StaleStatesError(f"its checkpoint cannot be read: {error}") from error
        if checkpoint.v > VERSION:
            raise _StaleStatesError(f"its checkpoint is of version {checkpoint.v}")
        if checkpoint.release != self._rules.release:
            raise _StaleStatesError("its states were made by another release")
        if checkpoint.folded > epoch:
            raise _StaleStatesError(
                f"its states are of offset {checkpoint.folded}, behind our claim at {epoch}"
            )
        partition.folded = checkpoint.folded
        partition.fence = Fence(checkpoint.epoch)
        partition.decided_through = checkpoint.decided_through
        partition.decided.extend(checkpoint.decided)
        for stored in found.values():
            if stored.value is None:
                continue
            assert stored.key is not None
            writer = partition.load(stored.key, stored.value)
            if writer < checkpoint.epoch and stored.offset >= checkpoint.since:
                raise _StaleStatesError(
                    f"{stored.key!r} was written by a decider that had lost the partition"
                )
        return None

    async def _standing(self, places: Places) -> Collection[bytes]:
        """The keys in the state topic; none where it is damaged: whoever loads it next folds anew too."""
        try:
            return _standing(await newest(self._log, places.states))
        except LogDamagedError:
            return []

    async def look_up(self, places: Places, partition: Partition, id: str) -> None:
        """Fold one aggregate, of which the partition knows nothing, from the partition's beginning. Raises
        LogUnavailableError and what halts a partition."""
        alone = Partition(self._rules, self._hot)
        key = id.encode()
        async with contextlib.aclosing(stretch(self._log, places.events, 0, partition.folded)) as batches:
            async for batch in batches:
                for stored in batch:
                    if stored.key is None or stored.key == key:
                        alone.fold(stored)
                await asyncio.sleep(0)
        partition.come_back(id, alone.states.entry(id))

    async def _fold(self, places: Places, partition: Partition, until: int, position: int) -> list[Decision]:
        """Fold up to our claim; returns the decisions on commands whose position was never committed."""
        unanswered: list[Decision] = []
        start, end = partition.folded, until + 1
        async with contextlib.aclosing(stretch(self._log, places.events, start, end)) as batches:
            async for batch in batches:
                for count, stored in enumerate(batch, 1):
                    decision = partition.fold(stored)
                    if decision is not None and decision.command_offset >= position:
                        unanswered.append(decision)
                    partition.states.shrink()
                    if count % 200 == 0:
                        await asyncio.sleep(0)  # connections of this process are served meanwhile
        if partition.folded <= until:
            raise LogUnavailableError(
                "{}[{}] could be read up to {}, not to {}".format(*places.events, partition.folded, until)
            )
        if partition.fence.epoch > until:
            raise LostError("a later claim stands in the log")
        return unanswered

    # -- a commands topic that has lost its end --------------------------------------------------------------------

    async def _cut(self, places: Places, partition: Partition) -> int | None:
        """The first offset of the commands topic with a new command where a decided one stood; None as a rule."""
        if not partition.decided:
            return None
        end = (await self._log.ends([places.commands]))[places.commands]
        if partition.decided_through < end and await self._still_there(places.commands, partition):
            return None
        decided: dict[int, str] = {}
        fence = Fence()
        async with contextlib.aclosing(stretch(self._log, places.events)) as batches:
            async for batch in batches:
                for stored in batch:
                    decision = fence.admit(stored)
                    if decision is not None:
                        decided[decision.command_offset] = decision.meta.command_id
                        continue
                    entry = decode_entry(stored)
                    if isinstance(entry, Claim) and entry.commands_from >= 0:
                        decided = {at: id for at, id in decided.items() if at < entry.commands_from}
        async with contextlib.aclosing(stretch(self._log, places.commands, 0, end)) as batches:
            async for batch in batches:
                for stored in batch:
                    if decided.get(stored.offset) != _id_of(stored):
                        return stored.offset
        return end

    async def _still_there(self, place: TopicPartition, partition: Partition) -> bool:
        """Whether the commands decided last stand where they stood; retention may have deleted some."""
        decided = dict(partition.decided)
        first, last = partition.decided[0][0], partition.decided[-1][0]
        async with contextlib.aclosing(stretch(self._log, place, first, last + 1)) as batches:
            async for batch in batches:
                if any(decided.get(stored.offset, _id_of(stored)) != _id_of(stored) for stored in batch):
                    return False
        return True

    async def _time_before(self, place: TopicPartition, offset: int) -> datetime | None:
        """When the last command before this offset was taken by the log."""
        when: datetime | None = None
        async with contextlib.aclosing(stretch(self._log, place, max(0, offset - 1), offset)) as batches:
            async for batch in batches:
                when = datetime.fromtimestamp(batch[-1].timestamp / 1000, UTC)
        return when


def _standing(found: Mapping[bytes, Stored]) -> list[bytes]:
    return [key for key, stored in found.items() if stored.value is not None and key != CHECKPOINT_KEY]


def _id_of(stored: Stored) -> str:
    """Raises NewerReleaseError: whether it is what was decided there, only a newer release can tell."""
    try:
        return decode_command(stored).meta.command_id
    except NewerReleaseError:
        raise
    except DamagedRecordError:
        return f"offset:{stored.offset}"
