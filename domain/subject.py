"""A subject, the `sub` of JWTs of a tenant or of the platform, whose tokens up to a moment are refused."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

import msgspec

from domain.aggregate import Aggregate, Event

LONGEST_SUBJECT: Final = 256


def subject_aggregate_id(tenant: str, subject: str) -> str:
    """`tenant` is empty for the platform's."""
    return f"subject|{tenant}|{subject}"


class SubjectState(msgspec.Struct, kw_only=True, omit_defaults=True):
    tenant: str = ""
    before: datetime | None = None


class Subject(Aggregate[SubjectState]):
    """`subject|{tenant}|{sub}`."""

    kind: ClassVar[str] = "subject"
    state_type = SubjectState


class SubjectTokensRevoked(Event, frozen=True, kw_only=True, tag="subject.tokens_revoked.v1"):
    """Its tokens issued at or before this moment, by the clock of who signed them, open nothing any more."""

    tenant: str
    subject: str
    before: datetime

    def apply(self, aggregate: Subject) -> None:
        aggregate.state.tenant, aggregate.state.before = self.tenant, self.before


AGGREGATE_EVENTS = (SubjectTokensRevoked,)
