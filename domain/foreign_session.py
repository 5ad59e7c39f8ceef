"""A session at somebody else's charge point, as its CPO pushes it: an OCPI 2.3.0 Session without its token.

The newest by `last_updated` stands. It is over once its status is final; after 30 days it is forgotten, and what is
put then begins another life of its id.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

import msgspec

from domain.aggregate import Aggregate, Event
from domain.bearer import Bearer
from domain.values import JSONObject, PartyId

FINAL: Final = frozenset({"COMPLETED", "INVALID"})
PERIODS: Final = "charging_periods"
MOST_APPLIED: Final = 100
"""PATCHes of one `last_updated` that are known again."""


def foreign_session_aggregate_id(owner: PartyId, session_id: str) -> str:
    """Ids of OCPI are compared without case."""
    return f"foreign_session|{owner}|{session_id.lower()}"


class ForeignSessionState(msgspec.Struct, omit_defaults=True):
    """`applied` are fingerprints of the PATCHes with this `last_updated`."""

    source: str = ""
    bearer: Bearer | None = None
    session: JSONObject | None = None
    last_updated: datetime | None = None
    applied: tuple[str, ...] = ()


class ForeignSession(Aggregate[ForeignSessionState]):
    """`foreign_session|{owner party}|{id}`."""

    kind: ClassVar[str] = "foreign_session"
    ends: ClassVar[bool] = True
    recurs: ClassVar[bool] = True  # CPOs choose its id
    state_type = ForeignSessionState

    @property
    def over(self) -> bool:
        return self.state.session is not None and self.state.session.get("status") in FINAL


class _Whole(Event, frozen=True, kw_only=True):
    """The session as a whole; `source` is the platform that pushed it (`domain.partner.holder_text`)."""

    source: str
    bearer: Bearer
    session: JSONObject
    last_updated: datetime

    @property
    def owner(self) -> PartyId | None:
        return self.bearer.told_to

    def apply(self, aggregate: ForeignSession) -> None:
        before = aggregate.state
        same = (before.source, before.last_updated) == (self.source, self.last_updated)
        aggregate.state = ForeignSessionState(
            source=self.source,
            bearer=self.bearer,
            session=self.session,
            last_updated=self.last_updated,
            applied=before.applied if same else (),
        )


class ForeignSessionBegun(_Whole, frozen=True, kw_only=True, tag="foreign_session.begun.v1"):
    """It was put for the first time in this life of its id."""

    begins: ClassVar[bool] = True


class ForeignSessionPut(_Whole, frozen=True, kw_only=True, tag="foreign_session.put.v1"):
    """It was put again, or by the platform that speaks for its owner now: nothing of what was before is left."""


class ForeignSessionPatched(Event, frozen=True, kw_only=True, tag="foreign_session.patched.v1"):
    """A PATCH was merged: fields that are `changed` and those that are `cleared`, and the charging `periods` that
    come behind the others. `bearer` where it changed; `owner` is who is told. `fingerprint` is the PATCH's."""

    owner: PartyId | None = None
    changed: JSONObject
    cleared: tuple[str, ...] = ()
    periods: tuple[JSONObject, ...] = ()
    bearer: Bearer | None = None
    last_updated: datetime
    fingerprint: str

    def apply(self, aggregate: ForeignSession) -> None:
        state = aggregate.state
        state.session = merged(state.session or {}, self)
        applied = state.applied if state.last_updated == self.last_updated else ()
        state.applied = (*applied, self.fingerprint)[-MOST_APPLIED:]
        state.last_updated = self.last_updated
        state.bearer = self.bearer or state.bearer


class ForeignSessionEnded(Event, frozen=True, kw_only=True, tag="foreign_session.ended.v1"):
    """Its status is final now: COMPLETED or INVALID."""

    owner: PartyId | None = None
    status: str

    def apply(self, aggregate: ForeignSession) -> None:
        """Said beside the change that ended it."""


def merged(session: JSONObject, patched: ForeignSessionPatched) -> JSONObject:
    """The session with what was patched; neither is changed."""
    out = {name: value for name, value in session.items() if name not in patched.cleared} | patched.changed
    if patched.periods:
        out[PERIODS] = [*out.get(PERIODS, []), *patched.periods]
    return out


AGGREGATE_EVENTS = (ForeignSessionBegun, ForeignSessionPut, ForeignSessionPatched, ForeignSessionEnded)
