"""The records of the log, kept for ever: commands, decisions, claims and readings as JSON.

A decision is one record: the command's id and offset, the epoch of the decider that took it, the reply, the events
(possibly none) and the downlinks. A claim is one record: from its offset on, decisions of a lower epoch are void. A
reading is command and event in one record, in a topic beside the events; nobody decides it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Union

import msgspec

from commands.base import Command, Downlink, Meta, Refusal
from domain.aggregate import Event, EventRegistry, UnknownEventError
from domain.upcasting import Forms
from streams.log import LogError, Record, Stored

LATE: Final = timedelta(seconds=0.3)
"""From the time that a command carries to the time at which the log took it; more is cut (`decode_command`)."""


class ReplyTo(msgspec.Struct, frozen=True, array_like=True):
    """Where an answer goes: a node's slot in the replies topic, its boot id, and the question's number."""

    slot: int
    boot: str
    number: int


class CommandRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One command as it stands in `commands.<area>`."""

    v: int = 1
    aggregate: str
    meta: Meta
    reply_to: ReplyTo | None = None
    command: msgspec.Raw


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the decision answers: accepted with a result, or refused with a name and a line.

    `version` is the aggregate's version after the decision, so that an edge can wait until it can be read.
    """

    aggregate: str = ""
    version: int = 0
    result: msgspec.Raw = msgspec.Raw(b"null")
    refusal: Refusal | None = None
    message: str = ""


class Decision(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="decision", tag_field="kind", dict=True
):
    """One decision: everything that follows from one command, or from the repeat of one (`repeat_of`)."""

    v: int = 1
    command: str
    command_offset: int
    epoch: int
    meta: Meta
    reply: Reply
    reply_to: ReplyTo | None = None
    repeat: bool = False
    events: list[msgspec.Raw] = []
    downlinks: list[Downlink] = []

    @property
    def event_names(self) -> tuple[str, ...]:
        """The stable names of its events, in order, read without decoding them. Raises DamagedRecordError."""
        names: tuple[str, ...] | None = self.__dict__.get("event_names")
        if names is None:
            names = self.__dict__["event_names"] = tuple(
                _name_of(bytes(event), self) for event in self.events
            )
        return names

    @property
    def _selected(self) -> dict[tuple[EventRegistry, int], Event]:
        """What `select_events` has decoded. `functools.cached_property` takes a lock before Python 3.12."""
        selected: dict[tuple[EventRegistry, int], Event] = self.__dict__.setdefault("selected", {})
        return selected


class Claim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="claim", tag_field="kind"):
    """Who decides this partition from here on. Its epoch is its offset.

    With `commands_from` the commands topic had lost its end (a broker's power loss, a restore): what stands there
    from this offset on is new and undecided, whatever was decided under such offsets before.
    """

    v: int = 1
    owner: str
    commands_from: int = -1


class Reading(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="reading", tag_field="kind", dict=True
):
    """A fact that decides nothing, as it stands in `readings.<area>`: `event` is a `domain.aggregate.Observation`."""

    v: int = 1
    aggregate: str
    meta: Meta
    event: msgspec.Raw

    @property
    def decision(self) -> Decision:
        """As who follows decisions takes it in: one event, under its own name, at no offset of the commands."""
        made: Decision | None = self.__dict__.get("decision")
        if made is None:
            made = Decision(
                command="",
                command_offset=-1,
                epoch=-1,
                meta=self.meta,
                reply=Reply(aggregate=self.aggregate),
                events=[self.event],
            )
            made = msgspec.structs.replace(made, command=made.event_names[0])
            self.__dict__["decision"] = made
        return made

    @property
    def again(self) -> Decision:
        """The same, where it stands in the log already: it is to be told nobody any more."""
        return msgspec.structs.replace(self.decision, repeat=True)


class DamagedRecordError(LogError):
    """A record of ours that cannot be read: the reader halts there, it never skips."""


class NewerReleaseError(DamagedRecordError):
    """A record or a command that only a newer release knows: its lane halts, and nothing is decided about it."""


REPEATED_WITHIN: Final = 4_096
"""How many readings of a partition may lie between one and its second record."""
UNREADABLE: Final = "unreadable"
"""What a decision calls a command that could not be read."""
VERSION: Final = 1
"""Of every record of ours; a higher one was written by a newer release."""

Entry = Decision | Claim | Reading
_entries: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Union[Decision, Claim, Reading])  # noqa: UP007
_commands = msgspec.json.Decoder(CommandRecord)


class _Named(msgspec.Struct):
    type: str


_named = msgspec.json.Decoder(_Named)
_NAME_BEGINS = b'{"type":"'
_encoder = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """JSON of any struct of the log."""
    return _encoder.encode(value)


def raw(value: object) -> msgspec.Raw:
    """A value already encoded, to be embedded."""
    return msgspec.Raw(_encoder.encode(value))


class _Recent:
    """What was decoded last, by its place: the followers of one process read the same records one after another."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[tuple[str, int, int], tuple[bytes, Entry]] = {}
        self._old = self._young

    def decode(self, stored: Stored) -> Entry:
        """Raises msgspec.DecodeError."""
        place = (stored.topic, stored.partition, stored.offset)
        value = stored.value or b""
        known = self._young.get(place) or self._old.get(place)
        if known is not None and known[0] == value:
            return known[1]
        entry = _entries.decode(value)
        if len(self._young) >= self._size:
            self._young, self._old = {}, self._young
        self._young[place] = (value, entry)
        return entry


_recent = _Recent(2048)


def decode_entry(stored: Stored) -> Entry:
    """A record of an events topic or a readings topic; who asks for it again soon may get the same object.

    Raises DamagedRecordError, NewerReleaseError.
    """
    try:
        entry = _recent.decode(stored)
    except msgspec.DecodeError as error:
        raise damaged(stored, error) from None
    if entry.v > VERSION:
        raise NewerReleaseError(_newer(stored, entry.v))
    return entry


def decode_command(stored: Stored) -> CommandRecord:
    """A record of a commands topic, with its time of receipt as decisions take it.

    That is the edge's time, but never more than `LATE` before the log took the command: an append may take seconds,
    and an edge's clock may be slow, but what the log takes now must not change what was true some time ago. So lists
    that end at a time stay complete (`streams.following.lag`). Raises DamagedRecordError, NewerReleaseError.
    """
    try:
        command = _commands.decode(stored.value or b"")
    except msgspec.DecodeError as error:
        raise damaged(stored, error) from None
    if command.v > VERSION:
        raise NewerReleaseError(_newer(stored, command.v))
    earliest = datetime.fromtimestamp(stored.timestamp / 1000, UTC) - LATE
    if command.meta.at >= earliest:
        return command
    return msgspec.structs.replace(command, meta=msgspec.structs.replace(command.meta, at=earliest))


class _Versioned(msgspec.Struct):
    v: int = 1


_versioned = msgspec.json.Decoder(_Versioned)


def halt_at_newer(stored: Stored) -> None:
    """Raises NewerReleaseError for a record of a higher `VERSION`, whatever else it holds."""
    with contextlib.suppress(msgspec.DecodeError):
        version = _versioned.decode(stored.value or b"").v
        if version > VERSION:
            raise NewerReleaseError(_newer(stored, version))


def damaged(stored: Stored, error: Exception) -> DamagedRecordError:
    """Why a record cannot be read: a newer release wrote it in a form of its own, or it is damaged."""
    try:
        halt_at_newer(stored)
    except NewerReleaseError as newer:
        return newer
    return DamagedRecordError(f"{stored.topic}[{stored.partition}]@{stored.offset}: {error}")


def _newer(stored: Stored, version: int) -> str:
    place = f"{stored.topic}[{stored.partition}]@{stored.offset}"
    return f"{place} is of version {version}: written by a newer release, upgrade this process"


def record(key: str, value: object, tenant: str = "") -> Record:
    """A record for the log; the tenant stands in a header too, so that readers can filter without parsing."""
    headers = (("tenant", tenant.encode()),) if tenant else ()
    return Record(key.encode(), _encoder.encode(value), headers)


class Fence:
    """Keeps stale deciders' records out: one per partition and reader.

    `epoch` is that at the place where the reader begins. An epoch is the offset of its claim: where no claim stands
    at an epoch that came up since, the records were moved, and nobody can say any more which of them count.
    """

    __slots__ = ("_begun", "_claims", "_read", "epoch")

    def __init__(self, epoch: int = -1) -> None:
        self.epoch = epoch
        self._begun = epoch
        self._claims: set[int] = set()
        self._read: dict[tuple[str, datetime], None] = {}

    def admit(self, stored: Stored) -> Decision | None:
        """The decision, or None for a claim and for what a decider wrote after it had lost the partition.

        A second record of one reading is its edge's, which had not learnt of the first; it is admitted as a repeat.

        Raises DamagedRecordError, also where the records are not at the offsets at which they were written.
        """
        entry = decode_entry(stored)
        if isinstance(entry, Reading):
            return entry.again if self._known(entry) else entry.decision
        if isinstance(entry, Claim):
            self.epoch = max(self.epoch, stored.offset)
            self._claims.add(stored.offset)
            return None
        if entry.epoch == self.epoch:
            return entry
        if self.epoch < 0 and entry.epoch == 0:
            self.epoch = 0  # where the first record is gone, nothing that counts has moved
            self._claims.add(0)
            return entry
        if entry.epoch > self._begun and entry.epoch not in self._claims:
            raise DamagedRecordError(
                f"{stored.topic}[{stored.partition}]@{stored.offset}: no claim stands at its epoch {entry.epoch}: "
                "this partition is not as it was written, restore it with its offsets (docs/operations.md)"
            )
        return None

    def _known(self, reading: Reading) -> bool:
        """Whether it was admitted before. Numbers of calls begin anew where events were lost, their times do not."""
        call = (reading.meta.command_id, reading.meta.at)
        if call in self._read:
            return True
        self._read[call] = None
        if len(self._read) > REPEATED_WITHIN:
            del self._read[next(iter(self._read))]
        return False


class CommandRegistry:
    """Every command class by its name, older forms included (`domain.upcasting`)."""

    def __init__(self, commands: Iterable[type[Command]]) -> None:
        self._forms: Forms[Command] = Forms(commands)

    def decode(self, data: msgspec.Raw) -> Command:
        """Raises NewerReleaseError where the name is unknown, msgspec.ValidationError for damaged content."""
        return self._forms.decode(data, _unknown_command)

    def check(self, name: str) -> None:
        """Whether a decision's command is one of ours. Raises NewerReleaseError."""
        if name not in self._forms.names and name != UNREADABLE:
            raise _unknown_command(name)


def _unknown_command(name: str) -> NewerReleaseError:
    return NewerReleaseError(
        f"unknown command {name!r} in the log: written by a newer release, upgrade this process"
    )


def decode_events(decision: Decision, registry: EventRegistry) -> list[Event]:
    """The decision's events in order, none of a repeat. Raises DamagedRecordError, UnknownEventError."""
    return [] if decision.repeat else all_events(decision, registry)


def all_events(decision: Decision, registry: EventRegistry) -> list[Event]:
    """The events that stand in the record, in order. Raises as `decode_events`."""
    try:
        return [registry.decode(event) for event in decision.events]
    except msgspec.DecodeError as error:
        raise _damaged_event(decision, error) from None


def select_events(decision: Decision, registry: EventRegistry, names: Container[str]) -> list[Event]:
    """Those of the decision's events that have one of these current names, in order; only they are decoded, and once;
    none of a repeat.

    Who selects the same from the same decision gets the same objects, which nobody may change.
    Raises DamagedRecordError, and UnknownEventError whatever is selected.
    """
    found: list[Event] = []
    if decision.repeat:
        return found
    selected = decision._selected
    for index, name in enumerate(decision.event_names):
        current = registry.names.get(name)
        if current is None:
            raise UnknownEventError(name)
        if current in names:
            key = (registry, index)
            event = selected.get(key)
            if event is None:
                try:
                    event = selected[key] = registry.decode(decision.events[index])
                except msgspec.DecodeError as error:
                    raise _damaged_event(decision, error) from None
            found.append(event)
    return found


def _name_of(event: bytes, decision: Decision) -> str:
    """Our encoder writes the name first; any other order is JSON all the same."""
    if event.startswith(_NAME_BEGINS):
        end = event.find(b'"', len(_NAME_BEGINS))
        name = event[len(_NAME_BEGINS) : end]
        if end > 0 and b"\\" not in name:
            return name.decode(errors="replace")
    try:
        return _named.decode(event).type
    except msgspec.DecodeError as error:
        raise _damaged_event(decision, error) from None


def _damaged_event(decision: Decision, error: Exception) -> DamagedRecordError:
    return DamagedRecordError(f"an event of the decision on {decision.meta.command_id}: {error}")
