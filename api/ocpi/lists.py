"""Paginated lists of a partner's objects: documents of the read store enter, OCPI objects of its version leave.

`date_from` is inclusive and `date_to` exclusive, both on last_updated. Pages are by offset, in the order of creation.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from api.ocpi.addressing import only_party
from api.ocpi.call import Answer, Call
from projections.store import HUB, Condition, Document, Query, Sort, eq, gte, is_in, lt
from protocols.ocpi import OcpiInvalid, decode, parse_json
from protocols.ocpi.bridging import downgrade
from protocols.ocpi.envelope import page_headers, read_page
from protocols.ocpi.types import JSON, OcpiModel

logger = logging.getLogger(__name__)

ERASED: Final = "#NA"
"""What stands for personal data that was erased."""


async def listed(
    call: Call,
    module: str,
    model: type[OcpiModel],
    field: str,
    where: Sequence[Condition],
    sort: str,
    *,
    sealed: bool = False,
) -> Answer:
    """One page of `chargesphere.{module}`; the object stands under `field`, its token sealed beside it."""
    ports = call.ports
    page = read_page(call.query, max_limit=ports.max_page)
    conditions = [*where]
    if (party := only_party(call)) is not None:
        conditions.append(eq("owner" if module == "tariffs" else "party", party))
    if page.date_from is not None:
        conditions.append(gte("last_updated", _bound(page.date_from)))
    if page.date_to is not None:
        conditions.append(lt("last_updated", _bound(page.date_to)))
    query = Query(HUB, module, tuple(conditions), (Sort(sort),))
    documents, total = await ports.store.find_offset(query, page.offset, page.limit)
    found: list[OcpiModel] = []
    for document in documents:
        value = await _object(call, module, model, document, field, sealed)
        if value is not None:
            found.append(value)
    headers = page_headers(
        f"{ports.public_url}{call.path}", call.query, page, total=total, max_limit=ports.max_page
    )
    return Answer(found, headers=headers)


def of_partner(call: Call) -> Condition:
    """Objects that concern one of the partner's parties."""
    return is_in("owner", sorted(call.access.parties))


async def _object(
    call: Call, module: str, model: type[OcpiModel], document: Document, field: str, sealed: bool
) -> OcpiModel | None:
    body = decode(msgspec.json.encode(document[field]))
    assert isinstance(body, dict)
    if sealed:
        body["cdr_token"] = await _cdr_token(call, document)
    try:
        value = parse_json(model, body)
    except OcpiInvalid as error:
        logger.error("%s %s cannot be shown: %s is wrong", module, document["_id"], error.path)
        return None
    if call.version != "2.2.1":
        return value
    bridged = downgrade(module, value)
    for loss in bridged.lost:
        logger.info("%s %s in 2.2.1: %s is lost: %s", module, document["_id"], loss.path, loss.why)
    return bridged.value


async def _cdr_token(call: Call, document: Document) -> JSON:
    sealed = document.get("cdr_token")
    opened = await call.ports.vault.open(sealed) if isinstance(sealed, str) and sealed else None
    if opened is not None:
        return decode(opened)
    country_code, _, party_id = str(document["owner"]).partition("*")
    return {
        "country_code": country_code,
        "party_id": party_id,
        "uid": ERASED,
        "type": "OTHER",
        "contract_id": ERASED,
    }


def _bound(moment: datetime) -> str:
    """A time that compares with those of read models.

    Without a Z it comes before every text of the same second or fraction, so that windows that touch miss nothing.
    """
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()
