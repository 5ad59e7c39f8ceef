"""What waits at a partner is listed, and who is behind; what was told is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.pushes import HandedOver, Mark, Named, Reported, Waiting, pushes_id
from projections.pushes import FEED
from projections.store import HUB, Query
from projections.store.sqlite import SqliteReadStore
from tests.projections.facts import MSP, NOON, meta

WAITING = Waiting(
    to=MSP,
    object_id="s1",
    tenant="demo",
    version=5,
    since=Mark(offset=7),
    attempts=2,
    first_tried_at=NOON,
    due=NOON + timedelta(seconds=10),
    outcome="refused",
    reason="HTTP 500",
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteReadStore]:
    store = SqliteReadStore(tmp_path)
    yield store
    await store.close()


async def say(store: SqliteReadStore, version: int, **said: Any) -> list[Any]:
    event = Reported(
        originator_id=pushes_id("sessions", 7),
        originator_version=version,
        timestamp=NOON,
        through=version,
        **said,
    )
    await store.apply(list(FEED.writes(event, meta())))
    return list((await store.find(Query(HUB, "deliveries"))).items)


async def test_what_waits_is_listed_until_it_is_told(store: SqliteReadStore) -> None:
    [listed] = await say(store, 2, waiting=(WAITING,))
    assert (listed["_id"], listed["state"], listed["tenant_id"]) == (f"{MSP}|sessions|s1", "waiting", "demo")
    assert (listed["attempts"], listed["last_error"]) == (2, "HTTP 500")
    assert listed["next_attempt_at"] == "2026-03-01T12:00:10.000Z"
    assert await say(store, 3, told=(Named(to=MSP, object_id="s1"),)) == []


async def test_what_was_given_up_is_failed(store: SqliteReadStore) -> None:
    given_up = Waiting(to=MSP, object_id="s1", tenant="demo", version=5, since=Mark(offset=7), given_up=True)
    [listed] = await say(store, 2, waiting=(given_up,))
    assert (listed["state"], listed["next_attempt_at"]) == ("failed", None)


async def test_a_partner_is_behind_until_it_has_caught_up(store: SqliteReadStore) -> None:
    await say(store, 2, waiting=(WAITING,))
    named = (Named(to=MSP, object_id="s1"),)
    [listed] = await say(store, 3, told=named, behind={str(MSP): Mark(offset=4)})
    assert (listed["state"], listed["since_offset"], listed["object_id"]) == ("behind", 4, None)
    [listed] = await say(store, 4, behind={str(MSP): Mark(offset=9)})
    assert listed["since_offset"] == 9
    assert await say(store, 5, caught_up=(str(MSP),)) == []


def test_who_holds_a_partition_is_in_no_list() -> None:
    event = HandedOver(originator_id=pushes_id("sessions", 7), originator_version=9, timestamp=NOON, epoch=1)
    assert FEED.writes(event, meta()) == ()
