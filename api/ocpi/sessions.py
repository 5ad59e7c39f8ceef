"""The sessions module both ways: an eMSP reads the sessions of its tokens, at our charge points and at those of other
CPOs; a CPO puts, patches and reads back its own.

The standard requires `date_from` of the list (chapter Sessions, Sender Interface, GET); who leaves it out gets the
whole list, as in every other module.
"""

from __future__ import annotations

import msgspec

from api.ocpi.call import Answer, Call, invalid, not_found
from api.ocpi.lists import document_object, listed, of_partner
from api.ocpi.objects import NOT_NEWER, addressed, check_path, foreign, named, nobody, refusal, taken
from application.bearers import bearer_of
from application.read_back import wait_visible
from commands.base import Command
from commands.foreign_session import PatchForeignSession, PushReply, PutForeignSession
from domain.values import PartyId, plain_json
from projections.foreign_session import DECLARED_INVALID, foreign_document_id
from projections.store import HUB, is_in
from protocols.ocpi import OcpiInvalidError, decode, dump_json, parse_json, v2_3_0
from protocols.ocpi.types import to_date_time

TOLD = ("ACTIVE", "COMPLETED", "PENDING", "RESERVATION", DECLARED_INVALID)
"""A session of ours whose token was not accepted is INVALID: no partner is told of it."""


async def get_list(call: Call) -> Answer:
    where = (*of_partner(call), is_in("status", TOLD))
    return await listed(call, "sessions", v2_3_0.Session, "session", where, "start_date_time", sealed=True)


async def get(call: Call) -> Answer:
    """As it was pushed, by who pushed it."""
    owner, id = named(call)
    if owner is None:
        return foreign(call)
    document = await call.ports.store.get(HUB, "sessions", foreign_document_id(owner, id))
    to = addressed(call)
    if document is None or document.get("source") != call.access.holder:
        return _unknown(owner, id)
    if to is not None and str(to) != document["owner"]:
        return _unknown(owner, id)
    shown = await document_object(call, "sessions", v2_3_0.Session, document, "session", sealed=True)
    return Answer(shown) if shown is not None else not_found(f"2.2.1 has no place for session {id}")


async def put(call: Call) -> Answer:
    """201 where it is new, else 200. An older one than what is known is acknowledged and not applied."""
    owner, id = named(call)
    if owner is None:
        return foreign(call)
    session = taken(call, "sessions")
    assert isinstance(session, v2_3_0.Session)
    check_path(session.country_code, session.party_id, session.id, owner, id)
    bearer = await bearer_of(call.ports.store, call.ports.vault, session.cdr_token)
    if bearer is None:
        return nobody(session.cdr_token)
    if addressed(call) not in (None, bearer.owner):
        return invalid(f"OCPI-to: {addressed(call)} is not the party of its cdr_token")
    try:
        body = plain_json(dump_json(session))
    except ValueError as error:
        raise OcpiInvalidError("", str(error)) from None
    del body["cdr_token"]
    command = PutForeignSession(
        owner=owner,
        session_id=id,
        source=call.access.holder,
        last_updated=session.last_updated,
        bearer=bearer,
        session=body,
    )
    return await _done(call, owner, id, command)


async def patch(call: Call) -> Answer:
    """Merged where it is decided. `last_updated` is required; `cdr_token` is kept sealed: it is given as a whole."""
    owner, id = named(call)
    if owner is None:
        return foreign(call)
    changes = decode(call.body)
    if not isinstance(changes, dict) or changes.get("last_updated") is None:
        raise OcpiInvalidError("last_updated", "is required in a PATCH")
    try:
        last_updated = to_date_time(changes["last_updated"])
    except ValueError as error:
        raise OcpiInvalidError("last_updated", str(error)) from None
    try:
        content = msgspec.json.encode(plain_json(changes), order="sorted").decode()
    except ValueError as error:
        raise OcpiInvalidError("", str(error)) from None
    bearer = None
    if "cdr_token" in changes:
        try:
            token = parse_json(v2_3_0.CdrToken, changes.pop("cdr_token"))
        except OcpiInvalidError as error:
            path = f"cdr_token.{error.path}" if error.path else "cdr_token"
            raise OcpiInvalidError(path, f"{error.message}; give the token as a whole") from None
        bearer = await bearer_of(call.ports.store, call.ports.vault, token)
        if bearer is None:
            return nobody(token)
    command = PatchForeignSession(
        owner=owner,
        session_id=id,
        source=call.access.holder,
        last_updated=last_updated,
        version=call.version,
        changes=plain_json(changes),
        bearer=bearer,
        addressed=addressed(call),
        fingerprint=call.ports.vault.digest("session_patch", content),
    )
    return await _done(call, owner, id, command)


async def _done(call: Call, owner: PartyId, id: str, command: Command) -> Answer:
    reply = await call.ports.bus.ask(command, call.meta())
    if (wrong := refusal(reply)) is not None:
        return wrong
    place, patience = foreign_document_id(owner, id), call.ports.visible_within
    await wait_visible(call.ports.store, HUB, "sessions", place, reply.version, patience=patience)
    said = msgspec.json.decode(reply.result, type=PushReply)
    return Answer(http=201 if said.created else 200, message=None if said.applied else NOT_NEWER)


def _unknown(owner: PartyId, id: str) -> Answer:
    return not_found(f"{owner} has no session {id}")
