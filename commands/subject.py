"""What can be asked of a subject of tokens: that those issued until now are refused."""

from __future__ import annotations

from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.subject import LONGEST_SUBJECT, Subject, SubjectTokensRevoked, subject_aggregate_id
from domain.values import Value


class RevokedReply(Value, frozen=True, kw_only=True):
    """Tokens issued at or before this moment are refused; UTC, ISO 8601."""

    before: str


class RevokeSubject(Command, frozen=True, kw_only=True, tag="subject.revoke_tokens.v1"):
    """Its tokens issued until the time of this command; `tenant` is empty for the platform's."""

    area: ClassVar[Area] = Area.KEY
    tenant: str = ""
    subject: str

    @property
    def aggregate_id(self) -> str:
        return subject_aggregate_id(self.tenant, self.subject)


def revoke(subject: Subject, command: RevokeSubject, meta: Meta) -> Outcome:
    """Of two that come out of order the later moment counts."""
    if not 0 < len(command.subject) <= LONGEST_SUBJECT:
        return Rejected(Refusal.INVALID, f"subject: must have 1 to {LONGEST_SUBJECT} characters")
    before = subject.state.before
    if before is None or meta.at > before:
        before = meta.at
        subject.trigger(
            SubjectTokensRevoked, meta.at, tenant=command.tenant, subject=command.subject, before=before
        )
    return Accepted(RevokedReply(before=before.isoformat().replace("+00:00", "Z")))


ROUTES: dict[type[Command], Route] = {RevokeSubject: Route(Subject, revoke)}
