"""The tariffs module both ways: a partner reads the tariffs of our tenants, and those that CPOs gave the hub for all
or for it; a CPO puts, takes away and reads back its own."""

from __future__ import annotations

import msgspec

from api.ocpi.call import Answer, Call, not_found
from api.ocpi.lists import listed
from api.ocpi.objects import addressed, check_path, foreign, named, refusal, taken, told
from application.locations import pushers
from application.read_back import wait_gone, wait_visible
from commands.tariff import PutReply, RemoveTariff, put_tariff
from projections.location import listed_to
from projections.store import HUB, has, is_in
from projections.tariff import OF_TENANTS, tariff_document_id
from protocols.ocpi import OcpiInvalidError, decode, parse_json, v2_3_0


async def get_list(call: Call) -> Answer:
    where = (is_in("listed_to", await _seen_by(call)), has("versions", call.version))
    return await listed(call, "tariffs", v2_3_0.Tariff, "tariff", where, "created_at")


async def _seen_by(call: Call) -> list[str]:
    """What may stand in `listed_to` of what the partner sees: it changes with who speaks for which party."""
    audiences = [None, *sorted(call.access.parties)]
    return [
        OF_TENANTS,
        *[
            listed_to(str(partner["holder"]), owner, audience)
            async for partner, owner in pushers(call.ports.store)
            for audience in audiences
        ],
    ]


async def get(call: Call) -> Answer:
    owner, id = named(call)
    if owner is None:
        return foreign(call)
    place = tariff_document_id(owner, id, addressed(call))
    document = await call.ports.store.get(HUB, "tariffs", place)
    if document is None or document.get("holder") != call.access.holder:
        return not_found(f"{owner} has no tariff {id}")
    tariff = parse_json(v2_3_0.Tariff, decode(msgspec.json.encode(document["tariff"])))
    shown = told(call, "tariffs", place, tariff)
    return Answer(shown) if shown is not None else not_found(f"2.2.1 has no place for tariff {id}")


async def put(call: Call) -> Answer:
    """201 where it is new, else 200. For who is named in OCPI-to alone, for all where that is the hub or nobody. An
    older one than what is known is acknowledged and not applied."""
    owner, id = named(call)
    if owner is None:
        return foreign(call)
    tariff = taken(call, "tariffs")
    assert isinstance(tariff, v2_3_0.Tariff)
    check_path(tariff.country_code, tariff.party_id, tariff.id, owner, id)
    audience = addressed(call)
    try:
        command = put_tariff(tariff, holder=call.access.holder, audience=audience)
    except ValueError as error:
        raise OcpiInvalidError("", str(error)) from None
    reply = await call.ports.bus.ask(command, call.meta())
    if (wrong := refusal(reply)) is not None:
        return wrong
    place, patience = tariff_document_id(owner, id, audience), call.ports.visible_within
    await wait_visible(call.ports.store, HUB, "tariffs", place, reply.version, patience=patience)
    created = msgspec.json.decode(reply.result, type=PutReply).created
    return Answer(http=201 if created else 200)


async def delete(call: Call) -> Answer:
    """It is used no more; CDRs keep their copy."""
    owner, id = named(call)
    if owner is None:
        return foreign(call)
    audience = addressed(call)
    command = RemoveTariff(owner=owner, tariff_id=id, holder=call.access.holder, audience=audience)
    reply = await call.ports.bus.ask(command, call.meta())
    if (wrong := refusal(reply)) is not None:
        return wrong
    place, patience = tariff_document_id(owner, id, audience), call.ports.visible_within
    await wait_gone(call.ports.store, HUB, "tariffs", place, patience=patience)
    return Answer()
