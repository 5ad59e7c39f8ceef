"""The tokens module as its receiver: an eMSP puts, patches and reads back its tokens.

`{country_code}/{party_id}` in the path must be a party of the partner, else the token does not exist for it (404).
A token in an object of 2.2.1 and of 2.3.0 has the same form.
"""

from __future__ import annotations

from typing import Final

from api.ocpi.call import Answer, Call, not_found, unknown_token
from api.ocpi.objects import NOT_NEWER
from application.ports import ContendedError
from domain.values import PartyId
from protocols.ocpi import OcpiInvalidError, decode, dump_json, parse, v2_3_0
from protocols.ocpi.envelope import StatusCode
from protocols.ocpi.patch import apply_patch
from protocols.ocpi.types import ci_key

DEFAULT_TYPE: Final = "RFID"


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
    done = await call.ports.tokens.put(owner, call.access.holder, token, call.meta())
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
        done = await call.ports.tokens.patch(owner, call.access.holder, uid, type, merged, call.meta())
    except ContendedError:
        message = "the token is being changed by other requests too; GET it, and PUT it as it should be"
        return Answer(status_code=StatusCode.SERVER_ERROR, message=message)
    if done is None:
        return _unknown(type)
    return Answer(message=None if done.applied else NOT_NEWER)


def _named(call: Call) -> tuple[PartyId | None, str, str]:
    """The token that the path names: its owner (None where that is not a party of the partner), uid and type."""
    country_code, party_id, uid = call.segments[-3:]
    owner = PartyId(country_code=country_code.upper(), party_id=party_id.upper())
    type = call.query.get("type") or DEFAULT_TYPE
    if len(uid) > 36:
        raise OcpiInvalidError("token_uid", f"must have at most 36 characters, got {len(uid)}")
    return (owner if str(owner) in call.access.parties else None), uid, type


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
