"""Deciding in one partition: pure of any input or output, so that its rules can be tested line by line.

What enters: command records in the order of their offsets, and the partition's own entries as they are read back.
What leaves: decision records to append. It folds, it decides, it recognises repeats; it never appends.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import domain
from commands.base import (
    Accepted,
    Command,
    Downlink,
    Handler,
    Meta,
    Refusal,
    Rejected,
    Routes,
    TimerDue,
    command_name,
)
from domain.aggregate import EPOCH, Aggregate, Event, EventRegistry, UnknownEventError, kind_of
from domain.clock import CLOCKS_APART
from domain.errors import ChargeSphereError
from domain.upcasting import names
from streams.deciding.states import Entry, States
from streams.following.facts import received_at
from streams.log import LogError, Stored
from streams.log.envelope import (
    UNREADABLE,
    Claim,
    CommandRecord,
    CommandRegistry,
    Decision,
    Fence,
    NewerReleaseError,
    Reply,
    decode_command,
    decode_entry,
    encode,
    raw,
)
from streams.log.topology import RETENTION

logger = logging.getLogger(__name__)

MAX_DECISION_BYTES = 900_000
"""Of one decision: with its key and headers it fits into one append."""


WITNESSES = 64
"""How many of the commands decided last are known by their ids."""
TIMER_AGAIN, TIMER_AGAIN_MOST = 5.0, 3600.0
"""Seconds until a timer whose handler raised is told again: doubling from the first to the last."""


@cache
def release_of_folds() -> str:
    """Stands for what this release makes of events: the text of the whole domain. A stored state of another release
    may be what this one would never have made of the same events."""
    digest = hashlib.blake2b(digest_size=8)
    folder = Path(domain.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class Rules:
    """What can be decided: the routing tables of all nouns, put together once.

    Only a command that is `creating` makes the first event of an aggregate. What is over is forgotten `retention`
    after its last event, by the log's time.
    """

    def __init__(
        self,
        routes: Routes,
        timers: Mapping[str, Handler],
        events: EventRegistry,
        creating: Collection[type[Command]],
        retention: timedelta = RETENTION,
    ) -> None:
        self.routes = routes
        self.timers = timers
        self.events = events
        self.creating = frozenset(creating)
        every: tuple[type[Command], ...] = (*routes, TimerDue)
        self.commands = CommandRegistry(every)
        self.forgettable = frozenset(name for c in routes if not c.remembered for name in names(c))
        self.recognised = frozenset(name for c in every if c.recognised for name in names(c))
        self.release = release_of_folds()
        self.retention = retention

    def handler(self, command: Command) -> Handler:
        """The function that decides this command. Raises NewerReleaseError for a timer that this release does not
        set."""
        if not isinstance(command, TimerDue):
            return self.routes[type(command)].handler
        handler = self.timers.get(kind_of(command.aggregate))
        if handler is None:
            raise NewerReleaseError(
                f"unknown timer of {command.aggregate} in the log: set by a newer release, upgrade this process"
            )
        return handler


class Told(NamedTuple):
    """A timer to be told: of whose tenant, and how often its decision has failed before."""

    timer: TimerDue
    tenant: str
    attempt: int


class ForgottenError(ChargeSphereError):
    """Nothing is known of an aggregate, and it may have been forgotten: it is to be folded from the log first."""

    def __init__(self, aggregate: str) -> None:
        super().__init__(f"{aggregate} may have been forgotten")
        self.aggregate = aggregate


class Partition:
    """The state of one partition of one area, in the hands of the decider that claimed it."""

    def __init__(self, rules: Rules, hot: int = 2_000) -> None:
        self.rules = rules
        self.states = States(rules.events, hot)
        self.fence = Fence()
        self.epoch = -1
        self.decided_through = -1
        self.decided: deque[tuple[int, str]] = deque(maxlen=WITNESSES)
        """Offset and id of the commands that were decided last: whether the commands topic still holds them."""
        self.folded = 0
        self.time = EPOCH
        """The log's, when it took the command that was decided last; before that, when what was folded last was
        received."""
        self._due: list[tuple[datetime, str]] = []
        self._watched: dict[str, datetime] = {}
        self._failed_timers: dict[str, int] = {}

    # -- folding -----------------------------------------------------------------------------------------------

    def fold(self, stored: Stored) -> Decision | None:
        """Take in one entry of the events partition; returns the decision where it is valid."""
        decision = self.fence.admit(stored)
        self.folded = stored.offset + 1
        if decision is None:
            claim = decode_entry(stored)
            if isinstance(claim, Claim) and claim.commands_from >= 0:
                self.decided_through = claim.commands_from - 1
                while self.decided and self.decided[-1][0] > self.decided_through:
                    self.decided.pop()
            return None
        self.time = received_at(_time(stored), decision)
        self._passed(decision.command_offset, decision.meta.command_id)
        entry: Entry | None = None
        for data in decision.events:
            event = self.rules.events.decode(data)
            entry = self.states.entry(event.originator_id)
            if event.originator_version > entry.aggregate.version:
                if event.begins or self._was_perhaps_forgotten(entry, event.timestamp):
                    self.states.begin_life(entry, self.folded, stood=entry.aggregate.exists)
                    if event.begins and entry.aggregate.exists:
                        entry.recent.clear()  # they were forgotten with the life before
                entry.aggregate.take_in(event)
                entry.copy = None
            self.states.dirty.add(event.originator_id)
        aggregate = decision.reply.aggregate
        if aggregate and not decision.repeat:
            self._remember(self.states.entry(aggregate), decision)
            self._watch(aggregate)
        if entry is not None:
            self.states.note(entry)
        return decision

    def load(self, key: bytes, data: bytes) -> int:
        """Take a stored state, before anything is folded; returns its writer's epoch."""
        loaded = self.states.load(key, data)
        if loaded.id:
            self._schedule(loaded.id, loaded.due)
        return loaded.epoch

    def folded_anew(self, standing: Collection[bytes]) -> None:
        """Everything was folded from the beginning: forget what is over for long, and have the keys that stand in the
        state topic for nothing that is known marked as gone."""
        for ended in self.states.take_over(self.forgotten_before):
            self.forget(ended.id)
        self.states.obsolete |= set(standing) - {self.states.key_of(id) for id in self.states.dirty}

    # -- what is over ------------------------------------------------------------------------------------------

    @property
    def forgotten_before(self) -> datetime:
        """What is over, and had its last event before this, is to be forgotten."""
        return self.time - self.rules.retention

    def forget(self, id: str) -> None:
        """What is over leaves memory."""
        self.states.forget(id)
        self._watched.pop(id, None)
        self._failed_timers.pop(id, None)

    def come_back(self, id: str, found: Entry) -> None:
        """What the log says of an aggregate of which nothing was known."""
        found.looked_up = True
        if found.aggregate.exists:
            self.states.begin_life(found, self.folded)
        self.states.put(id, found)
        self.states.note(found)

    def _was_perhaps_forgotten(self, entry: Entry, now: datetime) -> bool:
        aggregate = entry.aggregate
        return aggregate.ends and aggregate.over and now - aggregate.modified_on >= self._remembered

    def _may_be_forgotten(self, entry: Entry, command: Command, meta: Meta) -> bool:
        """Whether nothing is known of the aggregate, and that is no proof that it never was.

        A fact from which a command follows is no younger than the last event of what that is about, or the command is
        `after_all`: so what follows from a young fact is of nothing that was over for long.
        """
        if not entry.aggregate.ends or entry.aggregate.exists or entry.looked_up:
            return False
        old = meta.caused_at is not None and self.time - meta.caused_at >= self._remembered
        return old or command.after_all

    @property
    def _remembered(self) -> timedelta:
        """For so long at least what is over is remembered: clocks differ, and records tell whole seconds."""
        return self.rules.retention * 29 / 30

    # -- deciding ----------------------------------------------------------------------------------------------

    def decide(self, stored: Stored, now: datetime) -> Decision | None:
        """The decision on one command record, applied to the state already; None for one decided before.

        Raises NewerReleaseError, UnreadableStateError and ForgottenError: nothing is wrong with the command then, and
        it stays.
        """
        if stored.offset <= self.decided_through:
            return None
        record: CommandRecord | None = None
        try:
            record = decode_command(stored)
            command = self.rules.commands.decode(record.command)
            handler = self.rules.handler(command)
            entry = self.states.entry(record.aggregate)
            self.time = _time(stored)
            if self._may_be_forgotten(entry, command, record.meta):
                raise ForgottenError(record.aggregate)
        except NewerReleaseError:
            raise
        except (msgspec.DecodeError, LogError, UnknownEventError) as error:
            decision = self._unreadable(stored, record, error)
            self._passed(stored.offset, decision.meta.command_id)
            return decision
        self._passed(stored.offset, record.meta.command_id)
        name = command_name(command)
        known = entry.recent.get(record.meta.command_id)
        if known is not None:
            return self._decision(stored, record, name, known, repeat=True)
        if record.meta.deadline is not None and now - record.meta.deadline > CLOCKS_APART:
            late = Rejected(Refusal.EXPIRED, "it came too late to be decided")
            decision = self._decision(stored, record, name, self._reply(entry, late))
        else:
            entry, decision = self._handle(handler, entry, command, stored, record)
        self.states.note(entry)
        self._remember(entry, decision)
        if decision.events:
            self.states.dirty.add(record.aggregate)
        if isinstance(command, TimerDue):
            self._timer_decided(record.aggregate, decision.reply.refusal is Refusal.FAILED, now)
        self._watch(record.aggregate)
        return decision

    def due(self, now: datetime) -> Sequence[Told]:
        """The timers whose time has come, each told once, and again where its decision has failed."""
        out: list[Told] = []
        while self._due and self._due[0][0] <= now:
            when, id = heapq.heappop(self._due)
            aggregate = self.states.entry(id).aggregate
            current = aggregate.next_due()
            attempt = self._failed_timers.get(id, 0)
            if current is not None and current <= now and (current == when or attempt):
                out.append(Told(TimerDue(aggregate=id, due=current), aggregate.tenant, attempt))
        return out

    def ask_again(self, timers: Sequence[Told]) -> None:
        """Take back timers that could not be told."""
        for told in timers:
            heapq.heappush(self._due, (told.timer.due, told.timer.aggregate))

    @property
    def next_due(self) -> datetime | None:
        return self._due[0][0] if self._due else None

    def _passed(self, command_offset: int, command_id: str) -> None:
        if command_offset > self.decided_through:
            self.decided_through = command_offset
            self.decided.append((command_offset, command_id))

    def _timer_decided(self, id: str, failed: bool, now: datetime) -> None:
        """One whose handler raised comes again, later each time; the aggregate's other timers wait behind it."""
        if not failed:
            self._failed_timers.pop(id, None)
            return
        attempt = self._failed_timers[id] = self._failed_timers.get(id, 0) + 1
        wait = min(TIMER_AGAIN * 2.0 ** (attempt - 1), TIMER_AGAIN_MOST)
        heapq.heappush(self._due, (now + timedelta(seconds=wait), id))

    # -- inside ------------------------------------------------------------------------------------------------

    def _handle(
        self, handler: Handler, entry: Entry, command: Command, stored: Stored, record: CommandRecord
    ) -> tuple[Entry, Decision]:
        name = command_name(command)
        self.states.before_change(entry)
        aggregate, creates = entry.aggregate, not entry.aggregate.exists
        try:
            outcome = handler(aggregate, command, record.meta)
            made = aggregate.collect_events()
            if made and creates and aggregate.recurs:
                made = _numbered_from(aggregate, made, int(record.meta.at.timestamp()))
            events = [raw(event) for event in made]
            if events and creates and type(command) not in self.rules.creating:
                entry = self.states.undone(record.aggregate, entry)
                unknown = Rejected(Refusal.UNKNOWN, f"there is no {record.aggregate[:100]}")
                return entry, self._decision(stored, record, name, self._reply(entry, unknown))
            if isinstance(outcome, Rejected) and events:
                raise RuntimeError(f"{name} was refused and yet made events")
            downlinks = list(outcome.downlinks) if isinstance(outcome, Accepted) else []
            decision = self._decision(
                stored, record, name, self._reply(entry, outcome), events=events, downlinks=downlinks
            )
            self._measure(stored, decision)
            entry.since.extend(events)
            if made and creates and aggregate.recurs:
                self.states.begin_life(entry, self.folded)
        except Exception as error:
            logger.exception("%s on %s failed", name, record.aggregate)
            entry = self.states.undone(record.aggregate, entry)
            failed = Rejected(Refusal.FAILED, f"{type(error).__name__} in the handler")
            decision = self._decision(stored, record, name, self._reply(entry, failed))
        return entry, decision

    @staticmethod
    def _measure(stored: Stored, decision: Decision) -> None:
        """Whether the log takes it. Its meta stands in the command, whose size bounds it: only what may be too large
        is encoded for this."""
        about = len(stored.value or b"") + len(decision.reply.result) + sum(map(len, decision.events))
        if not decision.downlinks and about < MAX_DECISION_BYTES // 2:
            return
        if (size := len(encode(decision))) > MAX_DECISION_BYTES:
            raise ValueError(f"a decision of {size} bytes is over {MAX_DECISION_BYTES}")

    def _reply(self, entry: Entry, outcome: Accepted | Rejected) -> Reply:
        aggregate = entry.aggregate
        if isinstance(outcome, Rejected):
            return Reply(
                aggregate=aggregate.id,
                version=aggregate.version,
                refusal=outcome.refusal,
                message=outcome.message,
            )
        return Reply(
            aggregate=aggregate.id,
            version=aggregate.version,
            result=msgspec.Raw(encode(outcome.reply)),
        )

    def _decision(
        self,
        stored: Stored,
        record: CommandRecord,
        name: str,
        reply: Reply,
        *,
        repeat: bool = False,
        events: list[msgspec.Raw] | None = None,
        downlinks: list[Downlink] | None = None,
    ) -> Decision:
        return Decision(
            command=name,
            command_offset=stored.offset,
            epoch=self.epoch,
            meta=record.meta,
            reply=reply,
            reply_to=record.reply_to,
            repeat=repeat,
            events=events or [],
            downlinks=downlinks or [],
        )

    def _unreadable(self, stored: Stored, record: CommandRecord | None, error: Exception) -> Decision:
        """A command that cannot be read is decided as failed, so that those behind it go on."""
        logger.error("%s[%d]@%d cannot be decided: %s", stored.topic, stored.partition, stored.offset, error)
        when = datetime.fromtimestamp(stored.timestamp / 1000, UTC)
        reply = Reply(refusal=Refusal.FAILED, message=f"the command cannot be read: {error}")
        return Decision(
            command=UNREADABLE,
            command_offset=stored.offset,
            epoch=self.epoch,
            meta=record.meta if record else Meta(command_id=f"offset:{stored.offset}", at=when),
            reply=reply,
            reply_to=record.reply_to if record else None,
        )

    def _remember(self, entry: Entry, decision: Decision) -> None:
        """What somebody waits for, or what nothing but its id tells from a repeat."""
        if decision.command in self.rules.forgettable:
            return
        if decision.command in self.rules.recognised and decision.reply_to is None:
            return
        entry.remember(decision.meta.command_id, decision.reply)
        self.states.dirty.add(entry.aggregate.id)

    def _watch(self, id: str) -> None:
        self._schedule(id, self.states.entry(id).aggregate.next_due())

    def _schedule(self, id: str, due: datetime | None) -> None:
        """One heap entry for each due time of an aggregate; a time that has been told is not told again."""
        if due is None:
            self._watched.pop(id, None)
        elif self._watched.get(id) != due:
            self._watched[id] = due
            heapq.heappush(self._due, (due, id))


def _time(stored: Stored) -> datetime:
    return datetime.fromtimestamp(stored.timestamp / 1000, UTC)


def _numbered_from(aggregate: Aggregate[Any], made: Sequence[Any], number: int) -> list[Event]:
    """The first events of a life whose versions count from this number, which is above those of all lives before:
    the second of its beginning. What is over is forgotten long after its last event by the same times, and a life has
    fewer events than that has seconds."""
    aggregate.version += number
    return [
        msgspec.structs.replace(event, originator_version=event.originator_version + number) for event in made
    ]
