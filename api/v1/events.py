"""`/events`: what happens, while it happens, as server-sent events (WHATWG HTML, 9.2).

What enters: a filter, and the id of the last event that the client has. What leaves: public events of one tenant,
each with an id by which the stream is resumed, a heartbeat while there are none, and at the end the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Header, Query
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from api.problems import ProblemError, ProblemRoute, forbidden, invalid, not_found
from api.v1.caller import Caller, Viewer
from application.live.bookmark import BookmarkError
from application.live.events import (
    CLOSED,
    GAP,
    INTERRUPTED,
    LAGGED,
    REVOKED,
    TOKEN_EXPIRED,
    Closed,
    Gap,
    Lagged,
    LiveEvent,
    Wanted,
)
from application.live.fanout import TooManyStreamsError
from application.live.subscription import Subscription
from application.principal import BadTokenError
from projections.public import SHORT_NAMES, Structured
from projections.store import Query as StoreQuery
from projections.store import StoreUnavailableError, eq, every
from streams.log import LogUnavailableError

logger = logging.getLogger(__name__)

routes = APIRouter(route_class=ProblemRoute, tags=["events"])

HEARTBEAT_S: Final = 15.0
RETRY_MS: Final = 3_000
"""How long a client waits before it comes back."""
LOOK_S: Final = 5.0
"""Seconds between two looks at whether who listens still may."""
BUSY_S: Final = 30
"""After which it is worth trying again where there are too many streams."""
TAKEN_S: Final = 60.0
"""Seconds in which a client must take what was told, some 50 KB at most; else its place is another's."""
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """Ends its subscription, however the client leaves, and also where it stays and takes a byte now and then."""

    media_type = "text/event-stream"

    def __init__(self, subscription: Subscription, frames: AsyncIterator[bytes]) -> None:
        super().__init__(frames, headers=HEADERS)
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def taken(message: Message) -> None:
            async with asyncio.timeout(TAKEN_S):
                await send(message)

        try:
            await super().__call__(scope, receive, taken)
        except TimeoutError:
            logger.info("a live stream of %s ended: nobody took it", self._subscription.wanted.tenant)
        finally:
            self._subscription.close()


def _schema_of(type: type[msgspec.Struct]) -> dict[str, Any]:
    """Of a struct that holds no other one."""
    _, found = msgspec.json.schema_components((type,), ref_template="{name}")
    schema: dict[str, Any] = found[type.__name__]
    return schema


def _schemas() -> list[dict[str, Any]]:
    """What the data of each event is."""
    envelope = _schema_of(Structured)
    public = [
        {
            **envelope,
            "title": name,
            "properties": {
                **envelope["properties"],
                "type": {"const": kind.ce_type},
                "data": _schema_of(kind.payload),
            },
        }
        for name, kind in SHORT_NAMES.items()
    ]
    own = [{**_schema_of(type), "title": name} for name, type in _OWN.items()]
    return public + own


_OWN: Final[dict[str, type[msgspec.Struct]]] = {LAGGED: Lagged, GAP: Gap, CLOSED: Closed}
EXAMPLE: Final = {
    "specversion": "1.0",
    "id": "charge_point|demo|CP-1|12",
    "type": "chargesphere.charge_point.disconnected.v1",
    "source": "/chargesphere/charge_point",
    "subject": "demo|CP-1",
    "time": "2026-03-01T12:01:00.000Z",
    "datacontenttype": "application/json",
    "data": {"charge_point_id": "CP-1", "connection": 2, "reason": "closed"},
    "tenantid": "demo",
    "aggregateversion": 12,
    "correlationid": "CP-1|2",
    "causationid": "CP-1|2|closed",
}
_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "server-sent events without an end; the schema is that of each event's data",
        "content": {
            EventStream.media_type: {"schema": {"type": "object", "oneOf": _schemas()}, "example": EXAMPLE}
        },
    }
}


@routes.get("/events", status_code=200, response_class=EventStream, responses=_ANSWER)
async def follow(
    caller: Viewer,
    types: Annotated[
        str | None,
        Query(max_length=1000, description=f"only these, with commas, of {', '.join(SHORT_NAMES)}"),
    ] = None,
    charge_point_id: Annotated[str | None, Query(max_length=255, description="only what is about it")] = None,
    location_id: Annotated[
        str | None,
        Query(max_length=255, description="only what is about its charge points, as they are at the start"),
    ] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="of the last event that the client has: what came since is told",
        ),
    ] = None,
) -> EventStream:
    """What happens to the tenant, while it happens, until the token expires.

    Each event's data is one of the public events (docs/events.md), in one JSON object with its attributes. At least
    once: an `id` in the data that comes again is a repeat. `lagged`: the client took too slowly, what it missed
    follows. `gap`: some of what happened since the last event cannot be told any more. `closed`: the stream ends,
    with the reason. A viewer hears nothing of tokens, and `token_key` is masked.
    """
    wanted = Wanted(
        caller.own_tenant,
        _types(caller, types),
        await _charge_points(caller, charge_point_id, location_id),
        caller.sees_people,
    )
    try:
        subscription = await caller.services.live.subscribe(wanted, last_event_id or None)
    except BookmarkError as error:
        raise invalid("header", "Last-Event-ID", str(error)) from None
    except TooManyStreamsError as error:
        status = 429 if error.of_tenant else 503
        raise ProblemError(status, str(error), headers={"Retry-After": str(BUSY_S)}) from None
    return EventStream(subscription, _frames(subscription, caller))


def _types(caller: Caller, given: str | None) -> frozenset[str]:
    if given is None:
        return frozenset()
    names = frozenset(given.split(","))
    if unknown := sorted(names - SHORT_NAMES.keys()):
        raise invalid("query", "types", f"{unknown[0][:100]!r} is none of {', '.join(SHORT_NAMES)}")
    hidden = (
        () if caller.sees_people else sorted(name for name in names if SHORT_NAMES[name].topic == "tokens")
    )
    if hidden:
        raise forbidden("query", "types", f"{hidden[0]} needs the role operator")
    return names


async def _charge_points(
    caller: Caller, charge_point_id: str | None, location_id: str | None
) -> frozenset[str] | None:
    if charge_point_id is None and location_id is None:
        return None
    store, db = caller.services.store, caller.database
    found: set[str] = set()
    if location_id is not None:
        there = StoreQuery(db, "charge_points", (eq("location_id", location_id),), limit=500)
        found = {str(document["_id"]) async for document in every(store, there)}
        if not found:
            raise not_found(f"location {location_id}")
        if charge_point_id is None:
            return frozenset(found)
    assert charge_point_id is not None
    if charge_point_id not in found and (
        location_id is not None or await store.get(db, "charge_points", charge_point_id) is None
    ):
        raise not_found(f"charge point {charge_point_id}")
    return frozenset({charge_point_id})


async def _frames(subscription: Subscription, caller: Caller) -> AsyncIterator[bytes]:
    """Frames without data set the client's last id, and are no events to it."""
    yield b"retry: %d\n%b\n" % (RETRY_MS, _id(subscription.bookmark))
    loop = asyncio.get_running_loop()
    told_at = looked_at = loop.time()
    until = caller.principal.expires_at or caller.principal.grant.expires_at
    while True:
        left = HEARTBEAT_S if until is None else (until - caller.services.clock()).total_seconds()
        if left <= 0:
            yield _closed(TOKEN_EXPIRED)
            return
        if loop.time() - looked_at >= LOOK_S:
            looked_at = loop.time()
            if reason := await _over(caller):
                yield _closed(reason)
                return
        due = min(told_at + HEARTBEAT_S, looked_at + LOOK_S) - loop.time()
        events = await subscription.next(max(0.0, min(due, left)))
        if not events and not subscription.ended and loop.time() - told_at < HEARTBEAT_S:
            continue
        told_at = loop.time()
        if events:
            yield b"".join(map(_frame, events))
        elif subscription.ended:
            yield _closed(subscription.ended)
            return
        else:
            yield b": here\n%b\n" % _id(subscription.bookmark)


async def _over(caller: Caller) -> str:
    """Why the stream ends, where it does: who listens may not any more, or nobody can tell whether it may."""
    try:
        await caller.stands()
    except BadTokenError:
        return REVOKED
    except (LogUnavailableError, StoreUnavailableError):
        return INTERRUPTED
    return ""


def _frame(event: LiveEvent) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.name.encode(), event.data)


def _closed(reason: str) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (CLOSED.encode(), msgspec.json.encode(Closed(reason)))


def _id(bookmark: str | None) -> bytes:
    return b"id: %b\n" % bookmark.encode() if bookmark is not None else b""
