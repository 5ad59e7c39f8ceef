"""A remote command: what somebody asked a charge point to do, and what became of it.

It is known by (tenant, command id). Phases: pending → sent → accepted, rejected, failed, timed_out or expired; an
outcome is final, except that the session which a remote start led to is added when it begins.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import Authorization, JSONObject, TagRef

FINAL = frozenset({"accepted", "rejected", "failed", "timed_out", "expired"})


def remote_command_aggregate_id(tenant: str, command_id: str) -> str:
    return f"remote_command|{tenant}|{command_id}"


class RemoteCommandState(msgspec.Struct, omit_defaults=True):
    tenant: str = ""
    command_id: str = ""
    charge_point_id: str = ""
    fingerprint: str = ""
    status: str = ""
    expires_at: datetime | None = None


class RemoteCommand(Aggregate[RemoteCommandState]):
    """`remote_command|{tenant}|{command id}`."""

    kind: ClassVar[str] = "remote_command"
    state_type = RemoteCommandState

    def next_due(self) -> datetime | None:
        return None if self.state.status in FINAL else self.state.expires_at


class Requested(Event, frozen=True, kw_only=True, tag="remote_command.requested.v1"):
    """`command_type` and `parameters` as asked; `action` and `payload` as they will go over the wire.

    Id tags and secrets in both are sealed texts. `fingerprint` is a keyed hash of what was asked.
    """

    tenant: str
    command_id: str
    charge_point_id: str
    command_type: str
    parameters: JSONObject
    action: str
    payload: JSONObject
    id_tag: TagRef | None = None
    authorization: Authorization | None = None
    fingerprint: str
    by: str
    expires_at: datetime

    def apply(self, aggregate: RemoteCommand) -> None:
        state = aggregate.state
        state.tenant, state.command_id, state.charge_point_id = (
            self.tenant,
            self.command_id,
            self.charge_point_id,
        )
        state.fingerprint, state.status, state.expires_at = self.fingerprint, "pending", self.expires_at


class Sent(Event, frozen=True, kw_only=True, tag="remote_command.sent.v1"):
    """The call is on its way to the connection that the charge point has now."""

    def apply(self, aggregate: RemoteCommand) -> None:
        aggregate.state.status = "sent"


class Concluded(Event, frozen=True, kw_only=True, tag="remote_command.concluded.v1"):
    """The outcome. `reason` is the charge point's status, an error code, `disconnected`, or why we refused it."""

    status: str
    reason: str = ""
    response: JSONObject | None = None

    def apply(self, aggregate: RemoteCommand) -> None:
        aggregate.state.status = self.status


class SessionBegan(Event, frozen=True, kw_only=True, tag="remote_command.session_began.v1"):
    """The remote start led to this session."""

    session_id: str

    def apply(self, aggregate: RemoteCommand) -> None:
        """A fact for readers."""


AGGREGATE_EVENTS = (Requested, Sent, Concluded, SessionBegan)
