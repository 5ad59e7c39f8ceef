"""The CDRs module both ways: an eMSP reads the CDRs of its tokens, from our charge points and from other CPOs; a CPO
posts its own, each once, and reads it back at the URL that it was told."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from api.ocpi.call import Answer, Call, invalid, not_found
from api.ocpi.lists import document_object, listed, of_partner
from api.ocpi.objects import addressed, nobody, refusal, taken
from application.bearers import bearer_of, sealed_beside
from application.cdr_check import checked
from application.read_back import wait_visible
from commands.foreign_cdr import PostForeignCdr, PostReply
from domain.values import PartyId, plain_json
from projections.foreign_session import foreign_document_id
from projections.store import HUB
from protocols.ocpi import OcpiInvalidError, dump_json, v2_3_0
from protocols.ocpi.types import JSON


async def get_list(call: Call) -> Answer:
    return await listed(call, "cdrs", v2_3_0.CDR, "cdr", of_partner(call), "last_updated", sealed=True)


async def post(call: Call) -> Answer:
    """201 where it is new, 200 for the same one again, both with its URL in `Location`; 2001 for another content."""
    cdr = taken(call, "cdrs")
    assert isinstance(cdr, v2_3_0.CDR)
    owner = PartyId(country_code=cdr.country_code.upper(), party_id=cdr.party_id.upper())
    if ("CPO", str(owner)) not in call.access.roles:
        raise OcpiInvalidError("country_code, party_id", f"{owner} is no CPO of this platform")
    bearer = await bearer_of(call.ports.store, call.ports.vault, cdr.cdr_token)
    if bearer is None:
        return nobody(cdr.cdr_token)
    if addressed(call) not in (None, bearer.owner):
        return invalid(f"OCPI-to: {addressed(call)} is not the party of its cdr_token")
    try:
        body = plain_json(dump_json(cdr))
    except ValueError as error:
        raise OcpiInvalidError("", str(error)) from None
    # However numbers are spelled and fields are ordered: it is the same CDR.
    content = msgspec.json.encode(body, order="sorted").decode()
    del body["cdr_token"]
    private: dict[str, JSON] = {}
    if "signed_data" in body:
        private["signed_data"] = body.pop("signed_data")
    session = foreign_document_id(owner, cdr.session_id) if cdr.session_id else ""
    command = PostForeignCdr(
        owner=owner,
        cdr_id=cdr.id,
        source=call.access.holder,
        bearer=bearer,
        cdr=body,
        private=await sealed_beside(call.ports.vault, bearer, private) if private else "",
        session_id=session,
        fingerprint=call.ports.vault.digest("cdr_body", content),
        check=await checked(call.ports.store, cdr, owner, call.access.holder, bearer.owner),
    )
    reply = await call.ports.bus.ask(command, call.meta())
    if (wrong := refusal(reply)) is not None:
        return wrong
    place, patience = foreign_document_id(owner, cdr.id), call.ports.visible_within
    await wait_visible(call.ports.store, HUB, "cdrs", place, reply.version, patience=patience)
    created = msgspec.json.decode(reply.result, type=PostReply).created
    url = f"{call.base}/receiver/cdrs/{quote(f'{owner}*{cdr.id}', safe='*')}"
    return Answer(http=201 if created else 200, headers={"Location": url})


async def get(call: Call) -> Answer:
    """At the URL of its `Location`, by who posted it."""
    country_code, _, rest = call.segments[-1].partition("*")
    party_id, _, id = rest.partition("*")
    owner = PartyId(country_code=country_code.upper(), party_id=party_id.upper())
    document = await call.ports.store.get(HUB, "cdrs", foreign_document_id(owner, id))
    if document is None or document.get("source") != call.access.holder:
        return not_found("there is no such CDR; its URL stands in the Location of its POST")
    to = addressed(call)
    if to is not None and str(to) != document["owner"]:
        return not_found(f"{to} has no such CDR")
    shown = await document_object(call, "cdrs", v2_3_0.CDR, document, "cdr", sealed=True)
    return Answer(shown) if shown is not None else not_found("2.2.1 has no place for this CDR")
