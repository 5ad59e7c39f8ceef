"""The records of the log, kept for ever: commands, decisions and claims as JSON.

A decision is one record: the command's id and offset, the epoch of the decider that took it, the reply, the events
(possibly none) and the downlinks. A claim is one record: from its offset on, decisions of a lower epoch are void.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Union

import msgspec

from commands.base import Command, Downlink, Meta, Refusal
from domain.aggregate import Event, EventRegistry
from streams.log import LogError, Record, Stored


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
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="decision", tag_field="kind"
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


class Claim(msgspec.Struct, frozen=True, kw_only=True, tag="claim", tag_field="kind"):
    """Who decides this partition from here on. Its epoch is its offset."""

    v: int = 1
    owner: str


class DamagedRecordError(LogError):
    """A record of ours that cannot be read: the reader halts there, it never skips."""


_entries: msgspec.json.Decoder[Decision | Claim] = msgspec.json.Decoder(Union[Decision, Claim])  # noqa: UP007
_commands = msgspec.json.Decoder(CommandRecord)
_encoder = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """JSON of any struct of the log."""
    return _encoder.encode(value)


def raw(value: object) -> msgspec.Raw:
    """A value already encoded, to be embedded."""
    return msgspec.Raw(_encoder.encode(value))


def decode_entry(stored: Stored) -> Decision | Claim:
    """A record of an events topic."""
    try:
        return _entries.decode(stored.value or b"")
    except msgspec.DecodeError as error:
        raise DamagedRecordError(f"{stored.topic}[{stored.partition}]@{stored.offset}: {error}") from None


def decode_command(stored: Stored) -> CommandRecord:
    """A record of a commands topic."""
    try:
        return _commands.decode(stored.value or b"")
    except msgspec.DecodeError as error:
        raise DamagedRecordError(f"{stored.topic}[{stored.partition}]@{stored.offset}: {error}") from None


def record(key: str, value: object, tenant: str = "") -> Record:
    """A record for the log; the tenant stands in a header too, so that readers can filter without parsing."""
    headers = (("tenant", tenant.encode()),) if tenant else ()
    return Record(key.encode(), _encoder.encode(value), headers)


class Fence:
    """Keeps stale deciders' records out: one per partition and reader."""

    __slots__ = ("epoch",)

    def __init__(self, epoch: int = -1) -> None:
        self.epoch = epoch

    def admit(self, stored: Stored) -> Decision | None:
        """The decision, or None for a claim and for what a decider wrote after it had lost the partition."""
        entry = decode_entry(stored)
        if isinstance(entry, Claim):
            self.epoch = max(self.epoch, stored.offset)
            return None
        if entry.epoch < self.epoch:
            return None
        self.epoch = entry.epoch
        return entry


class CommandRegistry:
    """Every command class by its name."""

    def __init__(self, commands: Iterable[type[Command]]) -> None:
        classes = tuple(commands)
        self._decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Union[classes])  # noqa: UP007

    def decode(self, data: msgspec.Raw) -> Command:
        """Raises msgspec.ValidationError where the name is unknown or the content is damaged."""
        return self._decoder.decode(data)


def decode_events(decision: Decision, registry: EventRegistry) -> list[Event]:
    """The decision's events in order. Raises DamagedRecordError, UnknownEventError."""
    try:
        return [registry.decode(event) for event in decision.events]
    except msgspec.DecodeError as error:
        raise DamagedRecordError(f"an event of the decision on {decision.meta.command_id}: {error}") from None
