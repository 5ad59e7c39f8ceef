"""Paginated lists of a partner's objects: documents of the read store enter, OCPI objects of its version leave.

`date_from` is inclusive and `date_to` exclusive, both on last_updated. Pages are in the order of creation.

A list with one of them ends at the time up to which everything can be read, so that the next pull, from the newest
last_updated or from the time of this one, misses nothing. `Link` carries that end on as `date_to`, and beside the
offset an `after`, which stands behind the last object: an object that changes between two pages leaves the window,
and those behind it must not move up across the offset.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from api.ocpi.addressing import only_party
from api.ocpi.call import Answer, Call
from api.ocpi.objects import told
from application.bearers import private_fields
from commands.base import Area
from projections.store import HUB, BadCursorError, Condition, Document, Query, Sort, eq, gte, is_in, lt
from projections.store.shapes import make_cursor
from protocols.ocpi import OcpiInvalidError, decode, parse_json
from protocols.ocpi.envelope import TOTAL_COUNT, Page, page_headers, read_page
from protocols.ocpi.types import JSON, OcpiModel

logger = logging.getLogger(__name__)

AREAS: Final[Mapping[str, tuple[Area, ...]]] = {
    "cdrs": (Area.SESSION,),
    "locations": (Area.LOCATION, Area.CHARGE_POINT),
    "sessions": (Area.SESSION,),
    "tariffs": (Area.PARTY,),
    "tokens": (Area.TOKEN,),
}
"""Which parts of the log a module's objects come from."""

Show = Callable[[Sequence[Document]], Awaitable[list[OcpiModel]]]
"""A page's documents as objects of the version that is spoken; what cannot be shown is left out."""

AFTER: Final = "after"
"""What a Link carries beside the standard's own parameters."""

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
    """One page of `chargesphere.{module}`; the object stands under `field`, sealed where that is a text, or its token
    `sealed` beside it."""
    conditions = [*where]
    if (party := only_party(call)) is not None:
        conditions.append(eq("party" if module in ("cdrs", "sessions") else "owner", party))

    async def show(documents: Sequence[Document]) -> list[OcpiModel]:
        values = [await document_object(call, module, model, one, field, sealed=sealed) for one in documents]
        return [value for value in values if value is not None]

    return await paged(call, module, conditions, sort, "last_updated", show)


async def paged(
    call: Call, module: str, where: Sequence[Condition], sort: str, moment: str, show: Show
) -> Answer:
    """One page of `chargesphere.{module}`; `moment` is the field that a window is about."""
    ports, asked = call.ports, _asked(call)
    page = read_page(asked, max_limit=ports.max_page)
    conditions = [*where]
    if page.date_from is not None:
        conditions.append(gte(moment, _bound(page.date_from)))
    while True:
        date_to = await _end(call, module, page)
        before = (lt(moment, _bound(date_to)),) if date_to is not None else ()
        query = Query(HUB, module, (*conditions, *before), (Sort(sort),), page.limit, asked.get(AFTER))
        documents, after, total = await _documents(call, query, page)
        if date_to is None or ports.readable.holds():
            break
        # Other read models took the place of those of which the end was known.
    found = await show(documents)
    onward = {name: value for name, value in asked.items() if name != AFTER}
    if date_to is not None:
        onward["date_to"] = f"{_bound(date_to)}Z"
    if after is not None:
        onward[AFTER] = after
    # Whether there is a next page is known by what was read: the total may have shrunk below the offset.
    behind = page.offset + page.limit + (1 if after is not None else 0)
    headers = page_headers(
        f"{ports.public_url}{call.path}", onward, page, total=behind, max_limit=ports.max_page
    )
    return Answer(found, headers={**headers, TOTAL_COUNT: str(total)})


def _asked(call: Call) -> dict[str, str]:
    """The query. An offset of a time whose plus nobody encoded arrives with a space in its place."""
    return {
        name: value.replace(" ", "+") if name in ("date_from", "date_to") else value
        for name, value in call.query.items()
    }


async def _end(call: Call, module: str, page: Page) -> datetime | None:
    """Where the window ends; None for a list without one."""
    if page.date_from is None and page.date_to is None:
        return None
    wanted = call.at if page.date_to is None else min(page.date_to, call.at)
    reach, patience = call.ports.readable.reach, call.ports.complete_within
    readable = min(await asyncio.gather(*(reach(area, wanted, patience) for area in AREAS[module])))
    return readable if page.date_to is None else min(page.date_to, readable)


async def _documents(call: Call, query: Query, page: Page) -> tuple[list[Document], str | None, int]:
    """The page, what stands behind its last document where there are more, and how many there are in all."""
    store = call.ports.store
    if page.offset and query.cursor is None:
        documents, total = await store.find_offset(query, page.offset, page.limit)
        more = page.offset + len(documents) < total
        return documents, make_cursor(query, documents[-1]) if documents and more else None, total
    try:
        found = await store.find(query)
    except BadCursorError as error:
        raise OcpiInvalidError(AFTER, "is not from a Link of this list") from error
    return list(found.items), found.next_cursor, await store.count(query)


def of_partner(call: Call) -> tuple[Condition, ...]:
    """Objects that concern one of the partner's parties, and came about while it spoke for it."""
    return is_in("owner", sorted(call.access.parties)), eq("holder", call.access.holder)


async def document_object(
    call: Call, module: str, model: type[OcpiModel], document: Document, field: str, *, sealed: bool
) -> OcpiModel | None:
    """The object of a document in the partner's version, its token opened; None where it cannot be said there."""
    kept = document[field]
    text = await call.ports.vault.open(kept) if isinstance(kept, str) else msgspec.json.encode(kept)
    if text is None:
        return None  # the key of the person was destroyed
    body = decode(text)
    assert isinstance(body, dict)
    if sealed:
        body |= await private_fields(call.ports.vault, document)
        body["cdr_token"] = await _cdr_token(call, document)
    return as_object(call, module, model, body, str(document["_id"]))


def as_object(call: Call, module: str, model: type[OcpiModel], body: JSON, id: str) -> OcpiModel | None:
    """What is kept as 2.3.0, in the version that is spoken; None, and one line, where it cannot be said."""
    try:
        value = parse_json(model, body)
    except OcpiInvalidError as error:
        logger.error("%s %s cannot be shown: %s is wrong", module, id, error.path)
        return None
    return told(call, module, id, value)


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
