"""A remote command: what somebody asked a charge point to do, and what became of it.

It is known by (tenant, command id). Phases: pending → sent → accepted, rejected, failed, timed_out or expired. It is
sent once the call is on the wire. An outcome is final, with two exceptions: an answer that comes after all corrects
`timed_out` and `expired`, and the session which a remote start led to is added when it begins.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.clock import later
from domain.intents import Intent
from domain.partner_command import Asker
from domain.values import Authorization, JobItem, JSONObject, TagRef

UNANSWERED = frozenset({"timed_out", "expired"})
FINAL = frozenset({"accepted", "rejected", "failed"}) | UNANSWERED

EXPIRY_LONGEST = timedelta(hours=1)
"""How long a command may wait to be sent, at most. Who sends it looks at another clock (`CLOCKS_APART`)."""

GRACE = timedelta(seconds=15)
"""How long the charge point's own word on a command is waited for after its time; longer than that word takes."""


def remote_command_aggregate_id(tenant: str, command_id: str) -> str:
    return f"remote_command|{tenant}|{command_id}"


class RemoteCommandState(msgspec.Struct, omit_defaults=True):
    """With its outcome a stub is left: what a repeat of the request and a late answer are held against."""

    tenant: str = ""
    command_id: str = ""
    charge_point_id: str = ""
    fingerprint: str = ""
    status: str = ""
    expires_at: datetime | None = None  # to be sent by then, and once it was sent to be answered
    session_id: str = ""  # that it led to
    job: JobItem | None = None  # that waits for its outcome
    asker: Asker | None = None  # that waits for it too


class RemoteCommand(Aggregate[RemoteCommandState]):
    """`remote_command|{tenant}|{command id}`."""

    kind: ClassVar[str] = "remote_command"
    ends: ClassVar[bool] = True
    recurs: ClassVar[bool] = True  # clients choose its id
    state_type = RemoteCommandState

    @property
    def over(self) -> bool:
        return self.state.status in FINAL

    def next_due(self) -> datetime | None:
        due = self.state.expires_at
        return None if self.state.status in FINAL or due is None else later(due, GRACE)


class RemoteCommandRequested(Event, frozen=True, kw_only=True, tag="remote_command.requested.v1"):
    """`command_type` is the public name by which the `intent` was asked for.

    Id tags and secrets in the intent are sealed texts. `fingerprint` is a keyed hash of what was asked. `expires_at`
    is until when it may wait to be sent. `override`: what the charge point says that it cannot do does not count.
    `warning` is what whoever asked was told besides. `job`: the item of a job that it is done for.
    `asker`: the partner that asked for it.
    """

    begins: ClassVar[bool] = True
    tenant: str
    command_id: str
    charge_point_id: str
    command_type: str
    intent: Intent
    id_tag: TagRef | None = None
    authorization: Authorization | None = None
    fingerprint: str
    by: str
    expires_at: datetime
    override: bool = False
    warning: str = ""
    job: JobItem | None = None
    asker: Asker | None = None

    def apply(self, aggregate: RemoteCommand) -> None:
        state = aggregate.state
        state.job, state.asker = self.job, self.asker
        state.tenant, state.command_id, state.charge_point_id = (
            self.tenant,
            self.command_id,
            self.charge_point_id,
        )
        state.fingerprint, state.status, state.expires_at = self.fingerprint, "pending", self.expires_at


class RemoteCommandSent(Event, frozen=True, kw_only=True, tag="remote_command.sent.v1"):
    """The call is on the wire; its answer may come until `answer_by`."""

    answer_by: datetime

    def apply(self, aggregate: RemoteCommand) -> None:
        aggregate.state.status, aggregate.state.expires_at = "sent", self.answer_by


class RemoteCommandConcluded(Event, frozen=True, kw_only=True, tag="remote_command.concluded.v1"):
    """The outcome. `reason` is the charge point's status, an error code, `disconnected`, or why we refused it.

    `late`: the answer came after the command had been given up, and corrects its outcome. `unreached`: it was not
    sent, because its charge point was not connected. `obstacle` is what stood in its way, as far as we know:
    `refused` by us, or the connector was `occupied` or `inoperative` when the charge point refused. `job`: the item
    of a job that waits for the outcome; `asker`: the partner that does, for the first one.
    """

    status: str
    reason: str = ""
    response: JSONObject | None = None
    late: bool = False
    unreached: bool = False
    obstacle: str = ""
    job: JobItem | None = None
    asker: Asker | None = None

    @property
    def told_reason(self) -> str:
        """The reason for a person, with a note where the answer was late."""
        return ", ".join(filter(None, (self.reason, "answered late" if self.late else "")))

    def apply(self, aggregate: RemoteCommand) -> None:
        state = aggregate.state
        aggregate.state = RemoteCommandState(
            fingerprint=state.fingerprint, status=self.status, session_id=state.session_id
        )


class SessionBegan(Event, frozen=True, kw_only=True, tag="remote_command.session_began.v1"):
    """The remote start led to this session."""

    session_id: str

    def apply(self, aggregate: RemoteCommand) -> None:
        aggregate.state.session_id = self.session_id


AGGREGATE_EVENTS = (RemoteCommandRequested, RemoteCommandSent, RemoteCommandConcluded, SessionBegan)
