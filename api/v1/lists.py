"""Lists and answers: a query with `limit`, `cursor`, `from` and `to` enters, `{items, next_cursor}` leaves.

Personal data in documents is sealed; here it is opened for those who may see it, and masked for all others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, TypeVar

import msgspec
from fastapi import Depends, Query, Response

from api.moment import Moment
from api.v1.caller import Caller
from projections import blocks, store
from projections.blocks import Item, List
from projections.moment import utc_text
from projections.store import JSON, Condition, Document, Sort, eq, gte, lt

MASK: Final = "***"
_SEALED: Final = "s1."


class Paging(msgspec.Struct, frozen=True):
    """Which page, and which span of time: from `since`, before `until`."""

    limit: int
    cursor: str | None
    since: datetime | None
    until: datetime | None

    def within(self, field: str) -> tuple[Condition, ...]:
        """Conditions on a field that holds a time."""
        out = []
        if self.since is not None:
            out.append(gte(field, utc_text(self.since)))
        if self.until is not None:
            out.append(lt(field, utc_text(self.until)))
        return tuple(out)


def _paging(
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    since: Annotated[Moment | None, Query(alias="from", description="at or after")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="before")] = None,
) -> Paging:
    return Paging(limit, cursor, since, until)


Page = Annotated[Paging, Depends(_paging)]
Show = Callable[[Document], Awaitable[object]]
T = TypeVar("T", bound=Item)


def answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response of structs and plain values."""
    body = msgspec.json.encode(content)
    return Response(body, status, dict(headers or {}), "application/json")


def empty() -> Response:
    """204."""
    return Response(status_code=204)


async def listed(
    caller: Caller,
    db: str,
    collection: str,
    page: Paging,
    *,
    where: Sequence[Condition] = (),
    sort: tuple[Sort, ...],
    show: Show,
) -> Response:
    """One page of a collection, in a stable order."""
    query = store.Query(db, collection, tuple(where), sort, page.limit, page.cursor)
    found = await caller.services.store.find(query)
    items = [await show(document) for document in found.items]
    return answer({"items": items, "next_cursor": found.next_cursor})


async def listed_of_tenant(
    caller: Caller, collection: str, page: Paging, moment: str, asked: Mapping[str, str | None]
) -> Response:
    """The tenant's documents, newest first by `moment`, of which each field that is asked for is as asked."""
    return await listed(
        caller,
        caller.database,
        collection,
        page,
        where=[
            *page.within(moment),
            *(eq(field, value) for field, value in asked.items() if value is not None),
        ],
        sort=newest_first(moment),
        show=lambda document: shown(caller, document),
    )


async def listed_of_blocks(
    caller: Caller,
    list: List,
    key: str,
    page: Paging,
    *,
    decode: Callable[[bytes], Sequence[T]],
    wanted: Callable[[T], bool],
    show: Callable[[T], Awaitable[object]],
) -> Response:
    """One page of what a key finds in blocks, in the order of the list."""
    search = blocks.Search(caller.database, list, key, page.limit, page.cursor, page.since, page.until)
    found, cursor = await blocks.page(caller.services.store, search, decode, wanted)
    return answer({"items": [await show(item) for item in found], "next_cursor": cursor})


def newest_first(field: str) -> tuple[Sort, ...]:
    return (Sort(field, True),)


def oldest_first(field: str) -> tuple[Sort, ...]:
    return (Sort(field),)


def plain(document: Document) -> Document:
    """The document with `id` in place of what is the store's."""
    rest = {name: value for name, value in document.items() if name not in ("_id", "version", "id")}
    return {"id": document["_id"], **rest}


async def revealed(caller: Caller, value: JSON) -> JSON:
    """Sealed texts opened for operators and admins, masked for others; null where a key was destroyed."""
    match value:
        case str() if value.startswith(_SEALED):
            if not caller.sees_people:
                return MASK
            text = await caller.services.vault.open(value)
            return None if text is None else text.decode(errors="replace")
        case dict():
            return {name: await revealed(caller, item) for name, item in value.items()}
        case list():
            return [await revealed(caller, item) for item in value]
        case _:
            return value


async def shown(caller: Caller, document: Document) -> Document:
    """`plain` and `revealed`."""
    out = await revealed(caller, plain(document))
    assert isinstance(out, dict)
    return out
