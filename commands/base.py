"""The base of every command, and what a handler answers.

A handler is a plain function `(aggregate, command, meta) -> Reply | Rejected`; the events are those that it made
the aggregate `trigger`. A refusal is a result, named by a `Refusal`, never an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

import msgspec

from domain.aggregate import Aggregate
from domain.intents import Intent


class Area(StrEnum):
    """The parts of the log: one commands, one events and one state topic each."""

    CHARGE_POINT = "charge-point"
    SESSION = "session"
    TOKEN = "token"
    PARTY = "party"
    REMOTE_COMMAND = "remote-command"
    DELIVERY = "delivery"
    KEY = "key"
    JOB = "job"
    LOCATION = "location"


class Refusal(StrEnum):
    """Why a command was refused. One table an edge maps these to OCPI, OCPP and HTTP."""

    UNKNOWN = "unknown"  # what it is about does not exist, or belongs to somebody else
    ALREADY_EXISTS = "already_exists"
    CONFLICT = "conflict"  # the same id with other content
    INVALID = "invalid"  # a value that cannot be
    NOT_ALLOWED = "not_allowed"  # its state forbids it
    FORBIDDEN = "forbidden"  # who asks may not
    NOT_CONNECTED = "not_connected"
    STALE = "stale"  # older than what is known
    EXPIRED = "expired"  # its deadline passed before it was decided
    FAILED = "failed"  # the handler raised; the cause is in the decision


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """One thing asked of one aggregate. Its name is its `tag`, stable as event names are."""

    area: ClassVar[Area]
    remembered: ClassVar[bool] = True
    """Whether a repeat of its id gets the first decision's reply; off for records that nobody waits for."""
    recognised: ClassVar[bool] = False
    """Whether its aggregate knows a repeat by what it says, whenever that comes: its reply is then remembered only
    where somebody waits for it."""
    after_all: ClassVar[bool] = False
    """Whether it may be said when its aggregate has been over for long: where nothing is known of that, it was
    forgotten perhaps, and its partition is read through for it before this is decided."""

    @property
    def aggregate_id(self) -> str:
        """The aggregate that decides it."""
        raise NotImplementedError

    @property
    def story(self) -> str:
        """The correlation id of the story that it begins where a process sends it; empty where it goes on with that
        of its cause."""
        return ""

    @property
    def group(self) -> str:
        """The partition key: all aggregates of a group are decided in order by one decider."""
        return self.aggregate_id


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known about a command besides its content.

    `command_id` identifies it for ever: the first decision for an id is the decision. `at` is the time of receipt
    at the edge (UTC). After `deadline`, by the edge's clock too, nobody waits for it any more, and it is refused as
    expired instead of decided. `caused_at`: when the fact was received from which a process made it, in whole
    seconds.
    """

    command_id: str
    at: datetime
    tenant: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    principal: str = ""
    deadline: datetime | None = None
    caused_at: datetime | None = None


class Rejected(msgspec.Struct, frozen=True):
    """A refusal with one line for a person; never holds secrets or personal data."""

    refusal: Refusal
    message: str


class Downlink(msgspec.Struct, frozen=True, kw_only=True):
    """A message for one connection of one charge point, sent once the decision that holds it was read back."""

    slot: int
    boot: str
    tenant: str
    charge_point_id: str
    connection_epoch: int
    command_id: str
    intent: Intent
    expires_at: datetime  # until when it may wait to be sent
    own: bool = False  # the system's own: nobody waits for the news that it was sent


class Accepted(msgspec.Struct, frozen=True):
    """A decision's answer: `reply` is JSON-ready (a struct or builtins) and says whatever the edge needs."""

    reply: object = None
    downlinks: tuple[Downlink, ...] = ()


Outcome = Accepted | Rejected
Handler = Callable[[Any, Any, Meta], Outcome]


@dataclass(frozen=True, slots=True)
class Route:
    """Which aggregate decides a command, by which function."""

    aggregate: type[Aggregate[Any]]
    handler: Handler


Routes = Mapping[type[Command], Route]
Policy = Callable[[Any, Meta], Sequence[Command]]
"""What commands follow from one event; the Meta is that of the decision which holds it."""


class TimerDue(Command, frozen=True, kw_only=True, tag="timer.due.v1"):
    """The time that an aggregate's `next_due` named has come. Decided by the handler of the aggregate's kind.

    Said again it is as true: handlers look at what is due by then.
    """

    recognised: ClassVar[bool] = True
    aggregate: str
    due: datetime

    @property
    def aggregate_id(self) -> str:
        return self.aggregate


def command_name(command: type[Command] | Command) -> str:
    """The stable name of a command, such as `token.put.v1`."""
    return str(command.__struct_config__.tag)
