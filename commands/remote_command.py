"""What can be asked of a remote command: request it, and tell what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route, TimerDue
from domain.intents import Intent
from domain.partner_command import Asker
from domain.remote_command import (
    FINAL,
    UNANSWERED,
    RemoteCommand,
    RemoteCommandConcluded,
    RemoteCommandRequested,
    RemoteCommandSent,
    SessionBegan,
    remote_command_aggregate_id,
)
from domain.values import Authorization, JobItem, JSONObject, TagRef, Value


class Status(Value, frozen=True, kw_only=True):
    """What the edge answers."""

    command_id: str
    status: str
    warning: str = ""


class _OfRemoteCommand(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.REMOTE_COMMAND
    tenant: str
    command_id: str

    @property
    def aggregate_id(self) -> str:
        return remote_command_aggregate_id(self.tenant, self.command_id)


class RequestRemoteCommand(_OfRemoteCommand, frozen=True, kw_only=True, tag="remote_command.request.v1"):
    """Ask a charge point to do something; the same id again is the same request, or a conflict.

    `job`: the item of a job that it is done for; each has a story of its own. `asker`: the partner that asks.
    """

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

    @property
    def story(self) -> str:
        return "" if self.job is None else remote_command_story(self.tenant, self.command_id)


def remote_command_story(tenant: str, command_id: str) -> str:
    """The correlation id of everything that follows from it."""
    return f"remote|{tenant}|{command_id}"


class MarkSent(_OfRemoteCommand, frozen=True, kw_only=True, tag="remote_command.mark_sent.v1"):
    """The call is on the wire; its answer may come until `answer_by`."""

    recognised: ClassVar[bool] = True  # by what is pending
    answer_by: datetime


class Conclude(_OfRemoteCommand, frozen=True, kw_only=True, tag="remote_command.conclude.v1"):
    """It was answered, refused or lost. What is known of it then corrects `timed_out` and `expired`.

    `unreached`: it was refused because its charge point is not connected. `obstacle`: what stood in its way.
    """

    recognised: ClassVar[bool] = True  # an outcome is final, and corrected once
    status: str
    reason: str = ""
    response: JSONObject | None = None
    unreached: bool = False
    obstacle: str = ""


class NoteSession(_OfRemoteCommand, frozen=True, kw_only=True, tag="remote_command.note_session.v1"):
    """A transaction began that this remote start asked for."""

    recognised: ClassVar[bool] = True  # by the session
    session_id: str


def request(remote: RemoteCommand, command: RequestRemoteCommand, meta: Meta) -> Outcome:
    state = remote.state
    if remote.exists:
        if state.fingerprint != command.fingerprint:
            return Rejected(
                Refusal.CONFLICT, f"command id {command.command_id!r} was used for another request"
            )
        return Accepted(Status(command_id=command.command_id, status=state.status, warning=command.warning))
    remote.trigger(
        RemoteCommandRequested,
        meta.at,
        tenant=command.tenant,
        command_id=command.command_id,
        charge_point_id=command.charge_point_id,
        command_type=command.command_type,
        intent=command.intent,
        id_tag=command.id_tag,
        authorization=command.authorization,
        fingerprint=command.fingerprint,
        by=command.by,
        expires_at=command.expires_at,
        override=command.override,
        warning=command.warning,
        job=command.job,
        asker=command.asker,
    )
    return Accepted(Status(command_id=command.command_id, status="pending", warning=command.warning))


def mark_sent(remote: RemoteCommand, command: MarkSent, meta: Meta) -> Outcome:
    if remote.state.status == "pending":
        remote.trigger(RemoteCommandSent, meta.at, answer_by=command.answer_by)
    return Accepted()


def conclude(remote: RemoteCommand, command: Conclude, meta: Meta) -> Outcome:
    if not remote.exists:
        return Rejected(Refusal.UNKNOWN, f"no command {command.command_id!r}")
    late = remote.state.status in UNANSWERED and command.status not in UNANSWERED
    if remote.state.status in FINAL and not late:
        return Accepted()
    remote.trigger(
        RemoteCommandConcluded,
        meta.at,
        status=command.status,
        reason=command.reason,
        response=command.response,
        late=late,
        unreached=command.unreached,
        obstacle=command.obstacle,
        job=remote.state.job,
        asker=remote.state.asker,
    )
    return Accepted()


def note_session(remote: RemoteCommand, command: NoteSession, meta: Meta) -> Outcome:
    if not remote.exists:
        return Rejected(Refusal.UNKNOWN, f"no command {command.command_id!r}")
    if remote.state.session_id != command.session_id:
        remote.trigger(SessionBegan, meta.at, session_id=command.session_id)
    return Accepted()


def timer_due(remote: RemoteCommand, command: TimerDue, meta: Meta) -> Outcome:
    """Nobody said what became of it in time."""
    if remote.next_due() == command.due:
        status = "timed_out" if remote.state.status == "sent" else "expired"
        remote.trigger(
            RemoteCommandConcluded,
            meta.at,
            status=status,
            reason="no answer in time",
            job=remote.state.job,
            asker=remote.state.asker,
        )
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    RequestRemoteCommand: Route(RemoteCommand, request),
    MarkSent: Route(RemoteCommand, mark_sent),
    Conclude: Route(RemoteCommand, conclude),
    NoteSession: Route(RemoteCommand, note_session),
}
TIMER = timer_due
