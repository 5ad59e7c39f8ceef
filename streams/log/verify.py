"""Reading the log through for what it promises: a log enters, one line for each damage leaves; nothing is changed.

Every record can be read; a partition has no holes and begins where it must; each decision names a claim before it;
the versions of an aggregate follow one another. What retention has deleted is no damage.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

import msgspec

from commands.base import Area
from domain.aggregate import EventRegistry, UnknownEventError
from projections.frame import FrameRecord
from streams.log import Log, LogError, Stored, TopicPartition, TopicSpec
from streams.log.envelope import (
    Claim,
    DamagedRecordError,
    Decision,
    Fence,
    NewerReleaseError,
    Reading,
    decode_command,
    decode_entry,
    decode_events,
    halt_at_newer,
)
from streams.log.ranges import BATCH
from streams.log.topology import (
    FRAMES,
    OBSERVED,
    PUBLIC,
    commands_topic,
    events_topic,
    readings_topic,
    topics,
)

Judge = Callable[[Stored], Iterator[str]]
"""What is wrong with a record, after those before it."""

EVENTS = frozenset(events_topic(area) for area in Area)
READINGS = frozenset(readings_topic(area) for area in OBSERVED)
COMMANDS = frozenset(commands_topic(area) for area in Area)
READ = EVENTS | READINGS | COMMANDS | {FRAMES} | set(PUBLIC.values())
"""States are a cache; replies and downlinks are for the moment."""

SILENT_POLLS = 3


async def damages(log: Log, events: EventRegistry, *, dense: bool) -> AsyncGenerator[str, None]:
    """One line each. `dense`: the log counts offsets one by one, so that a hole is a loss.

    Raises LogUnavailableError where the log is away from the beginning.
    """
    for spec in topics(log.layout):
        if spec.name in READ:
            for partition in range(spec.partitions):
                place = TopicPartition(spec.name, partition)
                async with contextlib.aclosing(_of_partition(log, spec, place, events, dense)) as found:
                    async for line in found:
                        yield f"{place.topic}[{place.partition}]{line}"


async def _of_partition(
    log: Log, spec: TopicSpec, place: TopicPartition, events: EventRegistry, dense: bool
) -> AsyncGenerator[str, None]:
    begin = (await log.beginnings([place]))[place]
    end = (await log.ends([place]))[place]
    expected = 0 if spec.retention_ms is None else begin
    judge = _judge(place.topic, events)
    try:
        async with contextlib.aclosing(_batches(log, place, begin, end)) as batches:
            async for batch in batches:
                for stored in batch:
                    if dense and stored.offset != expected:
                        expected = min(stored.offset, await _left(log, spec, place, expected))
                    if dense and stored.offset != expected:
                        yield f"@{expected}: {stored.offset - expected} records are missing"
                    expected = stored.offset + 1
                    for line in judge(stored):
                        yield f"@{stored.offset}: {line}"
    except LogError as error:
        yield f"@{expected}: it cannot be read further: {error}"
        return
    if expected < end and await _left(log, spec, place, expected) < end:
        yield f"@{expected}: nothing more comes, though it reaches to {end}"


async def _left(log: Log, spec: TopicSpec, place: TopicPartition, expected: int) -> int:
    """What is expected now: who holds the log deletes what is past its retention meanwhile."""
    if spec.retention_ms is None:
        return expected
    return max(expected, (await log.beginnings([place]))[place])


async def _batches(
    log: Log, place: TopicPartition, begin: int, end: int
) -> AsyncGenerator[Sequence[Stored], None]:
    """What there is before `end`; stops where nothing comes for a while, and where nothing is left."""
    if begin >= end:
        return
    reader = log.reader()
    try:
        await reader.assign({place: begin})
        silent, at = 0, begin
        while at < end and silent < SILENT_POLLS:
            batch = [s for s in (await reader.poll(1.0, BATCH)).get(place, ()) if s.offset < end]
            if batch:
                silent, at = 0, batch[-1].offset + 1
                yield batch
            elif await reader.position(place) >= end:
                return
            else:
                silent += 1
    finally:
        await reader.close()


def _judge(topic: str, events: EventRegistry) -> Judge:
    if topic in EVENTS:
        return _Decisions(events)
    if topic in READINGS:
        return _readings(events)
    if topic in COMMANDS:
        return _command
    return _frame if topic == FRAMES else _nothing


def _readings(events: EventRegistry) -> Judge:
    def judge(stored: Stored) -> Iterator[str]:
        try:
            entry = decode_entry(stored)
            if isinstance(entry, Reading):
                decode_events(entry.decision, events)
            else:
                yield "it is no reading"
        except (UnknownEventError, NewerReleaseError) as error:
            yield f"it holds what this release does not know: {error}"
        except (DamagedRecordError, ValueError, RecursionError) as error:
            yield f"the reading cannot be read: {_cause(error)}"

    return judge


def _command(stored: Stored) -> Iterator[str]:
    try:
        decode_command(stored)
    except NewerReleaseError as error:
        yield f"it holds what this release does not know: {error}"
    except (DamagedRecordError, ValueError, RecursionError) as error:
        yield f"the command cannot be read: {_cause(error)}"


_frames = msgspec.json.Decoder(FrameRecord)


def _frame(stored: Stored) -> Iterator[str]:
    try:
        halt_at_newer(stored)
        _frames.decode(stored.value or b"")
    except NewerReleaseError as error:
        yield f"it holds what this release does not know: {error}"
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        yield f"the frame cannot be read: {_cause(error)}"


def _nothing(stored: Stored) -> Iterator[str]:
    if stored.value is None:
        yield "the record is empty"


class _Decisions:
    """Claims, epochs and versions of one events partition."""

    def __init__(self, events: EventRegistry) -> None:
        self._events = events
        self._fence = Fence()
        self._claims: set[int] = set()
        self._versions: dict[str, int] = {}

    def __call__(self, stored: Stored) -> Iterator[str]:
        try:
            entry = decode_entry(stored)
            if isinstance(entry, Claim):
                self._claims.add(stored.offset)
            if isinstance(entry, Decision) and entry.epoch not in self._claims:
                yield f"its epoch {entry.epoch} is no claim before it"
                decision: Decision | None = entry
            else:
                decision = self._fence.admit(stored)
            happened = decode_events(decision, self._events) if decision is not None else []
        except (UnknownEventError, NewerReleaseError) as error:
            yield f"it holds what this release does not know: {error}"
            return
        except (DamagedRecordError, ValueError, RecursionError) as error:
            yield f"the decision cannot be read: {_cause(error)}"
            return
        for event in happened:
            before = self._versions.get(event.originator_id, 0)
            follows = event.originator_version == before + 1
            if not (follows or (event.begins and event.originator_version > before)):
                yield f"version {event.originator_version} of {event.originator_id} follows version {before}"
            self._versions[event.originator_id] = event.originator_version


def _cause(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
