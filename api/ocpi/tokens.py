"""The tokens module: an eMSP puts, patches and reads back its tokens; a CPO lists those of all, and asks for one.

What was pushed to the hub, or to nobody in particular, is for all; what names one of our parties is for that alone.
`{country_code}/{party_id}` in the path must be a party of the partner, else the token does not exist for it (404).
A token in an object of 2.2.1 and of 2.3.0 has the same form.
"""

from __future__ import annotations

import math
from typing import Final

from api.ocpi.addressing import only_party, party_text
from api.ocpi.call import Answer, Call, not_found, unknown_token
from api.ocpi.lists import listed
from api.ocpi.objects import NOT_NEWER
from application.authorization import NoAnswer
from application.partner_authorization import TokenQuestion, TooManyUnknown
from application.ports import ContendedError
from domain.values import PartyId
from projections.store import eq, is_in
from protocols.ocpi import OcpiInvalidError, decode, dump_json, parse, v2_3_0
from protocols.ocpi.bridging import downgrade
from protocols.ocpi.envelope import StatusCode
from protocols.ocpi.patch import apply_patch
from protocols.ocpi.types import ci_key

DEFAULT_TYPE: Final = "RFID"
UNANSWERED: Final = {
    NoAnswer.PLACE_NEEDED: (StatusCode.NOT_ENOUGH_INFORMATION, "its owner wants to know where it is used"),
    NoAnswer.TIMEOUT: (StatusCode.TIMEOUT_ON_FORWARDED_REQUEST, "its owner did not answer in time"),
    NoAnswer.UNREACHABLE: (StatusCode.CONNECTION_PROBLEM, "its owner cannot be asked"),
}


async def get(call: Call) -> Answer:
    owner, uid, type = _named(call)
    if owner is None:
        return _foreign(call)
    token = await call.ports.tokens.get(owner, call.access.holder, uid, type)
    return Answer(token) if token is not None else _unknown(type)


async def put(call: Call) -> Answer:
    """201 where it is new, else 200. An older one than what is known is acknowledged and not applied."""
    owner, uid, type = _named(call)
    if owner is None:
        return _foreign(call)
    token = parse(v2_3_0.Token, call.body)
    _check(token, owner, uid, type)
    done = await call.ports.tokens.put(
        owner, call.access.holder, token, call.meta(), shared=only_party(call) is None
    )
    return Answer(http=201 if done.created else 200, message=None if done.applied else NOT_NEWER)


async def patch(call: Call) -> Answer:
    owner, uid, type = _named(call)
    if owner is None:
        return _foreign(call)
    changes = decode(call.body)

    def merged(stored: v2_3_0.Token) -> v2_3_0.Token:
        token = apply_patch(v2_3_0.Token, dump_json(stored), changes)
        _check(token, owner, uid, type)
        return token

    try:
        done = await call.ports.tokens.patch(
            owner, call.access.holder, uid, type, merged, call.meta(), shared=only_party(call) is None
        )
    except ContendedError:
        message = "the token is being changed by other requests too; GET it, and PUT it as it should be"
        return Answer(status_code=StatusCode.SERVER_ERROR, message=message)
    if done is None:
        return _unknown(type)
    return Answer(message=None if done.applied else NOT_NEWER)


async def get_list(call: Call) -> Answer:
    """Those that their owners, as they are now, have told to all."""
    holders = sorted(await call.ports.authorizations.holders())
    where = (eq("shared", True), is_in("holder", holders))
    return await listed(call, "tokens", v2_3_0.Token, "body", where, "known_since")


async def authorize(call: Call) -> Answer:
    """Whether a token may charge where a CPO says: 404 with 2004 for an unknown one, 2002 where its owner wants to
    know the place, 4002 or 4003 where it has to be asked and does not answer, 429 for who asks for too many unknown
    ones."""
    uid, type = call.segments[2], call.query.get("type") or DEFAULT_TYPE
    _check_uid(uid)
    place = parse(v2_3_0.LocationReferences, call.body) if call.body.strip() else None
    sender = call.routing.sender
    cpos = sorted(party for role, party in call.access.roles if role == "CPO")
    said = await call.ports.authorizations.authorize(
        TokenQuestion(
            partner_id=call.access.partner_id,
            asker=PartyId.of(party_text(sender) if sender is not None else cpos[0]),
            to=only_party(call),
            uid=uid,
            type=type,
            place=place,
            meta=call.meta(),
        )
    )
    match said:
        case v2_3_0.AuthorizationInfo():
            if call.version != "2.2.1":
                return Answer(said)
            bridged = downgrade("tokens", said)
            return Answer(bridged.value) if bridged.value is not None else _unknown(type)
        case TooManyUnknown():
            headers = {"Retry-After": str(max(1, math.ceil(said.retry_after)))}
            message = "too many unknown tokens were asked for"
            return Answer(status_code=StatusCode.CLIENT_ERROR, message=message, http=429, headers=headers)
        case NoAnswer.UNKNOWN_TOKEN:
            return _unknown(type)
        case _:
            code, message = UNANSWERED[said]
            return Answer(status_code=code, message=message)


def _named(call: Call) -> tuple[PartyId | None, str, str]:
    """The token that the path names: its owner (None where that is not a party of the partner), uid and type."""
    country_code, party_id, uid = call.segments[-3:]
    owner = PartyId(country_code=country_code.upper(), party_id=party_id.upper())
    type = call.query.get("type") or DEFAULT_TYPE
    _check_uid(uid)
    return (owner if str(owner) in call.access.parties else None), uid, type


def _check_uid(uid: str) -> None:
    if len(uid) > 36:
        raise OcpiInvalidError("token_uid", f"must have at most 36 characters, got {len(uid)}")


def _unknown(type: str) -> Answer:
    return unknown_token(f"there is no token of type {type[:40]} with this uid")


def _foreign(call: Call) -> Answer:
    country_code, party_id, _ = call.segments[-3:]
    return not_found(f"{country_code[:2]}*{party_id[:3]} is no party of this platform")


def _check(token: v2_3_0.Token, owner: PartyId, uid: str, type: str) -> None:
    """Raises OcpiInvalidError where the object says otherwise than the path."""
    if (token.country_code.upper(), token.party_id.upper()) != (owner.country_code, owner.party_id):
        raise OcpiInvalidError("country_code, party_id", "are not those of the path")
    if ci_key(token.uid) != ci_key(uid):
        raise OcpiInvalidError("uid", "is not that of the path")
    if str(token.type) != type:
        raise OcpiInvalidError("type", f"is not that of the path, {type[:40]!r}")
