"""Objects that CPOs push: what their path names, and how they come and go in the partner's version.

`{country_code}/{party_id}` in the path must be a party of the partner, else the object does not exist for it (404).
What is kept is the object of 2.3.0; what 2.2.1 cannot say of it is logged.
"""

from __future__ import annotations

import logging
from typing import Final

from api.ocpi.addressing import only_party
from api.ocpi.call import Answer, Call, not_found, refused
from commands.base import Refusal
from domain.values import PartyId
from protocols.ocpi import OcpiInvalidError, parse, v2_2_1, v2_3_0
from protocols.ocpi.bridging import downgrade, upgrade
from protocols.ocpi.envelope import StatusCode
from protocols.ocpi.types import OcpiModel, ci_key
from streams.log.envelope import Reply

logger = logging.getLogger(__name__)

NOT_NEWER: Final = "not newer than what is known"
MODELS: Final[dict[str, tuple[type[OcpiModel], type[OcpiModel]]]] = {
    "tariffs": (v2_3_0.Tariff, v2_2_1.Tariff),
    "sessions": (v2_3_0.Session, v2_2_1.Session),
    "cdrs": (v2_3_0.CDR, v2_2_1.CDR),
}
"""module → its object in 2.3.0 and in 2.2.1."""


def named(call: Call, longest: int = 36) -> tuple[PartyId | None, str]:
    """The object that the path names: its owner (None where that is not a party of the partner) and its id."""
    country_code, party_id, id = call.segments[-3:]
    owner = PartyId(country_code=country_code.upper(), party_id=party_id.upper())
    if len(id) > longest:
        raise OcpiInvalidError("id", f"must have at most {longest} characters, got {len(id)}")
    return (owner if str(owner) in call.access.parties else None), id


def foreign(call: Call) -> Answer:
    country_code, party_id, _ = call.segments[-3:]
    return not_found(f"{country_code[:2]}*{party_id[:3]} is no party of this platform")


def nobody(token: v2_3_0.CdrToken) -> Answer:
    """OCPI 4001: nobody is to get what bears this token."""
    party = f"{token.country_code}*{token.party_id}".upper()
    return Answer(
        status_code=StatusCode.UNKNOWN_RECEIVER, message=f"cdr_token: {party} is no eMSP that is known here"
    )


def addressed(call: Call) -> PartyId | None:
    """The party that it is for by its routing headers; None for the hub and for nobody."""
    party = only_party(call)
    return PartyId.of(party) if party is not None else None


def taken(call: Call, module: str) -> OcpiModel:
    """The body as an object of 2.3.0. Raises OcpiInvalidError, NotJsonError."""
    newest, older = MODELS[module]
    if call.version != "2.2.1":
        return parse(newest, call.body)
    bridged = upgrade(module, parse(older, call.body))
    for loss in bridged.lost:
        logger.info("%s from 2.2.1: %s is lost: %s", module, loss.path, loss.why)
    if bridged.value is None:
        raise OcpiInvalidError("", "; ".join(loss.why for loss in bridged.lost)[:200])
    return bridged.value


def told(call: Call, module: str, id: object, value: OcpiModel) -> OcpiModel | None:
    """The object in the partner's version; None where that has no place for it."""
    if call.version != "2.2.1":
        return value
    bridged = downgrade(module, value)
    for loss in bridged.lost:
        logger.info("%s %s in 2.2.1: %s is lost: %s", module, id, loss.path, loss.why)
    return bridged.value


def check_path(country_code: str, party_id: str, id: str, owner: PartyId, path_id: str) -> None:
    """Raises OcpiInvalidError where the object says otherwise than the path."""
    if (country_code.upper(), party_id.upper()) != (owner.country_code, owner.party_id):
        raise OcpiInvalidError("country_code, party_id", "are not those of the path")
    if ci_key(id) != ci_key(path_id):
        raise OcpiInvalidError("id", "is not that of the path")


def refusal(reply: Reply) -> Answer | None:
    """What a refused write is answered; None where it was not refused. An older object is acknowledged: nobody needs
    to send it again."""
    if reply.refusal is None:
        return None
    if reply.refusal is Refusal.STALE:
        return Answer(message=NOT_NEWER)
    if reply.refusal is Refusal.UNKNOWN:
        return not_found(reply.message)
    if reply.refusal in (Refusal.INVALID, Refusal.CONFLICT):
        raise OcpiInvalidError("", reply.message)
    return refused(reply.message)
