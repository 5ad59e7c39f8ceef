"""What can be asked of a session that a CPO pushes: to be as it says, as a whole or in what has changed.

A PATCH is merged here, on what the log holds, so that no read model has to know the session first.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.bearer import Bearer
from domain.foreign_session import (
    PERIODS,
    ForeignSession,
    ForeignSessionBegun,
    ForeignSessionEnded,
    ForeignSessionPatched,
    ForeignSessionPut,
    foreign_session_aggregate_id,
)
from domain.values import JSONObject, PartyId, Value, plain_json
from protocols.ocpi import OcpiInvalidError, decode, dump_json, parse_json, v2_2_1, v2_3_0
from protocols.ocpi.bridging import downgrade, upgrade
from protocols.ocpi.patch import apply_patch
from protocols.ocpi.types import JSON, ci_key

MOST_BYTES: Final = 400_000
"""Of a session's JSON: what the log takes as one record, with room beside it."""
_TOKEN: Final = {"country_code": "DE", "party_id": "ABC", "uid": "0", "type": "RFID", "contract_id": "0"}
"""In place of the one that is sealed."""


class PushReply(Value, frozen=True, kw_only=True):
    """`created` where it was not known before; `applied` is off where a newer one was known (or the same)."""

    created: bool = False
    applied: bool = True


class _OfForeignSession(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.SESSION
    owner: PartyId
    session_id: str
    source: str
    last_updated: datetime

    @property
    def aggregate_id(self) -> str:
        return foreign_session_aggregate_id(self.owner, self.session_id)


class PutForeignSession(_OfForeignSession, frozen=True, kw_only=True, tag="foreign_session.put.v1"):
    """The session as a whole: an OCPI 2.3.0 Session without its token, validated at the edge. `source` is the
    platform that speaks for its owner now."""

    bearer: Bearer
    session: JSONObject


class PatchForeignSession(_OfForeignSession, frozen=True, kw_only=True, tag="foreign_session.patch.v1"):
    """What has changed, in the OCPI `version` in which it came, without the token; `bearer` where that was given.

    `fingerprint` is of the whole PATCH. `addressed` is the party in OCPI-to, which must be the token's.
    """

    version: str
    changes: JSONObject
    bearer: Bearer | None = None
    addressed: PartyId | None = None
    fingerprint: str


def put(session: ForeignSession, command: PutForeignSession, meta: Meta) -> Outcome:
    state, was_over = session.state, session.over
    known = state.session is not None and state.source == command.source
    if known and state.last_updated is not None:
        older = command.last_updated < state.last_updated
        if older or (_same_bearer(state.bearer, command.bearer) and state.session == command.session):
            return Accepted(PushReply(applied=False))
    if _size(command.session) > MOST_BYTES:
        return _too_long()
    session.trigger(
        ForeignSessionPut if session.exists else ForeignSessionBegun,
        meta.at,
        source=command.source,
        bearer=command.bearer,
        session=command.session,
        last_updated=command.last_updated,
    )
    _end(session, meta, was_over=was_over and known)
    return Accepted(PushReply(created=not known))


def patch(session: ForeignSession, command: PatchForeignSession, meta: Meta) -> Outcome:
    """An older one, and one that was applied already, changes nothing."""
    state, was_over = session.state, session.over
    if state.session is None or state.bearer is None or state.source != command.source:
        return Rejected(Refusal.UNKNOWN, f"{command.owner} has no session {command.session_id}")
    bearer = command.bearer if command.bearer is not None else state.bearer
    if command.addressed not in (None, bearer.owner):
        return Rejected(Refusal.INVALID, f"OCPI-to: {command.addressed} is not the party of its cdr_token")
    if state.last_updated is not None and command.last_updated < state.last_updated:
        return Accepted(PushReply(applied=False))
    if command.last_updated == state.last_updated and command.fingerprint in state.applied:
        return Accepted(PushReply(applied=False))
    try:
        after = _merged(state.session, command)
    except (OcpiInvalidError, ValueError) as error:
        return Rejected(Refusal.INVALID, str(error))
    if _size(after) > MOST_BYTES:
        return _too_long()
    session.trigger(
        ForeignSessionPatched,
        meta.at,
        owner=bearer.told_to,
        bearer=None if _same_bearer(bearer, state.bearer) else bearer,
        last_updated=command.last_updated,
        fingerprint=command.fingerprint,
        **_difference(state.session, after),
    )
    _end(session, meta, was_over=was_over)
    return Accepted(PushReply())


def _merged(stored: JSONObject, command: PatchForeignSession) -> JSONObject:
    """Raises OcpiInvalidError, and ValueError for a number of more than 15 significant digits."""
    whole = decode(msgspec.json.encode({**stored, "cdr_token": _TOKEN}))
    changes = decode(msgspec.json.encode(command.changes))
    assert isinstance(whole, dict)
    session: object
    if command.version == "2.2.1":
        older = downgrade("sessions", v2_3_0.Session.model_validate(whole)).value
        if older is None:
            raise OcpiInvalidError("", "2.2.1 has no place for the session as it is: PUT it as a whole")
        patched = upgrade("sessions", apply_patch(v2_2_1.Session, dump_json(older), changes)).value
        session = _changed_alone(whole, upgrade("sessions", older).value, patched)
    else:
        session = apply_patch(v2_3_0.Session, whole, changes)
    if not isinstance(session, v2_3_0.Session):
        raise OcpiInvalidError("", "2.3.0 has no place for it")
    if (session.country_code.upper(), session.party_id.upper()) != (
        command.owner.country_code,
        command.owner.party_id,
    ) or ci_key(session.id) != ci_key(command.session_id):
        raise OcpiInvalidError("country_code, party_id, id", "are not those of the path")
    after: JSONObject = plain_json(dump_json(session))
    del after["cdr_token"]
    return after


def _changed_alone(whole: dict[str, JSON], was: object, patched: object) -> object:
    """The session in which a PATCH of 2.2.1 changed what it names: what it left stays as 2.3.0 says it."""
    if not isinstance(was, v2_3_0.Session) or not isinstance(patched, v2_3_0.Session):
        return None
    before, after = dump_json(was), dump_json(patched)
    kept = {name: value for name, value in whole.items() if name in after or name not in before}
    kept |= {name: value for name, value in after.items() if before.get(name) != value}
    return parse_json(v2_3_0.Session, kept)


def _difference(before: JSONObject, after: JSONObject) -> dict[str, object]:
    """What makes the one out of the other; periods that only come behind the others are told alone."""
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    earlier, periods = before.get(PERIODS, []), after.get(PERIODS, [])
    appended: list[JSONObject] = []
    if PERIODS in changed and periods[: len(earlier)] == earlier:
        appended = periods[len(earlier) :]
        del changed[PERIODS]
    return {
        "changed": changed,
        "cleared": tuple(name for name in before if name not in after),
        "periods": tuple(appended),
    }


def _end(session: ForeignSession, meta: Meta, *, was_over: bool) -> None:
    """Say once that it is over."""
    state = session.state
    if session.over and not was_over and state.session is not None and state.bearer is not None:
        owner, status = state.bearer.told_to, str(state.session["status"])
        session.trigger(ForeignSessionEnded, meta.at, owner=owner, status=status)


def _same_bearer(one: Bearer | None, other: Bearer) -> bool:
    """Sealed twice, a text differs."""
    return one is not None and msgspec.structs.replace(one, sealed=other.sealed) == other


def _size(session: JSONObject) -> int:
    return len(msgspec.json.encode(session))


def _too_long() -> Rejected:
    return Rejected(Refusal.INVALID, f"a session may have {MOST_BYTES} bytes")


ROUTES: dict[type[Command], Route] = {
    PutForeignSession: Route(ForeignSession, put),
    PatchForeignSession: Route(ForeignSession, patch),
}
