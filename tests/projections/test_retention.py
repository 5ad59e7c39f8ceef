"""Deliveries and remote commands that are over go after two years; what comes after all leaves what a rebuild has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chargesphere import registry
from commands.base import Meta
from domain import delivery
from domain.aggregate import Event
from domain.remote_command import RemoteCommandConcluded, SessionBegan
from projections import delivery as delivery_view
from projections import remote_command as remote_view
from projections.base import View
from projections.moment import utc_text
from projections.retention import KEEP_S
from projections.store import HUB, Document, Put, Query
from projections.store.sqlite import SqliteReadStore
from streams.projecting.projector import Projector
from tests.projections.facts import MSP, NOON, SESSION, decision, fact, meta, requested

ID = delivery.delivery_id(MSP, "cdrs", SESSION)
KEEP, DAY = timedelta(seconds=KEEP_S), timedelta(days=1)


def at(type: type[Event], version: int, after: timedelta, **fields: Any) -> Event:
    return type(originator_id=ID, originator_version=version, timestamp=NOON + after, **fields)


def wanted(version: int, after: timedelta) -> Event:
    about: dict[str, Any] = {"to": MSP, "module": "cdrs", "object_id": SESSION, "tenant": "demo"}
    return at(delivery.Wanted, version, after, **about, wanted=1, partition=0, offset=7)


def attempt(version: int, after: timedelta, number: int = 1) -> Event:
    about: dict[str, Any] = {"to": MSP, "module": "cdrs", "object_id": SESSION, "tenant": "demo"}
    lease = NOON + after + delivery.LEASE
    more: dict[str, Any] = {"attempt": number, "wanted": 1, "partition": 0, "offset": 7, "lease": lease}
    return at(delivery.AttemptDue, version, after, **about, **more)


def delivered(version: int, after: timedelta) -> Event:
    return at(delivery.Delivered, version, after, attempt=1, sent=1, http_status=201)


def given_up(version: int, after: timedelta) -> Event:
    return at(delivery.GivenUp, version, after, attempt=1, outcome="refused", reason="HTTP 400")


def retried(version: int, after: timedelta) -> Event:
    return at(delivery.RetryRequested, version, after, by="operator:ann")


ONCE = [wanted(1, timedelta()), attempt(2, timedelta()), delivered(3, timedelta())]


def fold(view: View, events: Sequence[Event], document: Document | None = None) -> Document | None:
    for event in events:
        meta = Meta(command_id="c", at=event.timestamp, tenant="demo")
        document = view.evolve(None if document is None else document.copy(), event, meta)
    return document


@pytest.mark.parametrize(
    ("then", "state", "goes"),
    [
        ([], "delivered", True),
        ([retried(4, DAY)], "waiting", False),
        ([retried(4, DAY), attempt(5, DAY)], "in_flight", False),
        ([retried(4, DAY), attempt(5, DAY), given_up(6, DAY)], "failed", False),
        ([retried(4, DAY), attempt(5, DAY), delivered(6, DAY)], "delivered", True),
    ],
)
async def test_a_delivery_goes_two_years_after_it_was_made_and_stays_where_it_was_not(
    tmp_path: Path, then: list[Event], state: str, goes: bool
) -> None:
    document = fold(delivery_view.VIEW, [*ONCE, *then])
    assert document is not None
    assert document["state"] == state
    store = SqliteReadStore(tmp_path)
    try:
        await store.ensure(list(delivery_view.indexes()))
        await store.apply([Put(HUB, "deliveries", ID, 3 + len(then), document)])
        over = NOON + (DAY if then else timedelta())
        assert await store.purge(over + KEEP - timedelta(seconds=1)) == 0
        assert await store.purge(over + KEEP + timedelta(seconds=2)) == goes
        assert len((await store.find(Query(HUB, "deliveries", limit=10))).items) == (not goes)
    finally:
        await store.close()


async def test_a_remote_command_goes_two_years_after_its_end_and_stays_while_it_has_none(
    tmp_path: Path,
) -> None:
    asked = fold(remote_view.VIEW, [requested()])
    over = fold(remote_view.VIEW, [requested(), outcome(timedelta())])
    assert asked is not None
    assert over is not None
    store = SqliteReadStore(tmp_path)
    try:
        await store.ensure(list(remote_view.indexes("ocpp_demo")))
        await store.apply([Put("ocpp_demo", "commands", "asked", 1, asked)])
        await store.apply([Put("ocpp_demo", "commands", "over", 2, over)])
        assert await store.purge(NOON + KEEP - timedelta(seconds=1)) == 0
        await store.purge(NOON + KEEP + timedelta(seconds=2))
        found = await store.find(Query("ocpp_demo", "commands", limit=10))
        assert [one["_id"] for one in found.items] == ["asked"]
    finally:
        await store.close()


@pytest.mark.parametrize("gap", [KEEP - DAY, KEEP - timedelta(seconds=1), KEEP, KEEP * 2])
def test_what_comes_after_all_finds_a_delivery_that_is_gone_as_one_that_a_rebuild_has(gap: timedelta) -> None:
    """A store may have taken it away, or not yet; it has all that it had, counted anew."""
    more = [retried(4, gap), attempt(5, gap), delivered(6, gap)]
    for count in range(1, 4):
        rebuilt = fold(delivery_view.VIEW, more[:count], fold(delivery_view.VIEW, ONCE))
        gone = fold(delivery_view.VIEW, more[:count])
        assert rebuilt == gone
    assert rebuilt is not None
    first = fold(delivery_view.VIEW, ONCE)
    assert first is not None
    later = utc_text(NOON + gap)
    times = dict.fromkeys(("created_at", "updated_at", "delivered_at", "over_at"), later)
    assert rebuilt == {**first, **times}


def test_what_comes_before_goes_on_with_what_there_is() -> None:
    soon = KEEP - DAY - timedelta(seconds=1)
    document = fold(delivery_view.VIEW, [*ONCE, retried(4, soon), attempt(5, soon, 2), delivered(6, soon)])
    assert document is not None
    assert (document["attempts"], document["retries"]) == (2, 1)


def outcome(after: timedelta) -> Event:
    id = requested().originator_id
    fields: dict[str, Any] = {"originator_id": id, "originator_version": 2, "timestamp": NOON + after}
    return RemoteCommandConcluded(status="timed_out", **fields)


@pytest.mark.parametrize("gap", [KEEP - DAY, KEEP, KEEP * 2])
def test_what_comes_after_all_of_a_remote_command_that_is_gone_is_shown_nowhere(gap: timedelta) -> None:
    late = msgspec.structs.replace(outcome(gap), originator_version=3)
    began = SessionBegan(
        originator_id=late.originator_id, originator_version=3, timestamp=NOON + gap, session_id="s1"
    )
    over = [requested(), outcome(timedelta())]
    for event in (late, began):
        assert fold(remote_view.VIEW, [*over, event]) is None
        assert fold(remote_view.VIEW, [event]) is None


def test_a_remote_commands_id_that_is_used_again_is_kept_anew() -> None:
    again = msgspec.structs.replace(requested(), originator_version=9, timestamp=NOON + KEEP * 2)
    document = fold(remote_view.VIEW, [requested(), outcome(timedelta()), again])
    assert document is not None
    assert (document["status"], document["over_at"]) == ("pending", None)


@pytest.mark.parametrize("remembers", [False, True], ids=["after a restart", "in memory"])
async def test_a_retry_after_all_leaves_the_documents_that_a_rebuild_makes(
    tmp_path: Path, remembers: bool
) -> None:
    """Of the delivery, and of the CDR that shows it."""
    more = [retried(4, KEEP * 2), attempt(5, KEEP * 2), delivered(6, KEEP * 2)]
    found: list[list[Document | None]] = []
    for rebuilt in (False, True):
        store = SqliteReadStore(tmp_path / str(rebuilt))
        try:
            await store.ensure(list(delivery_view.indexes()))
            projector = projecting(store)
            await project(projector, ONCE)
            if not rebuilt:
                assert await store.purge(NOON + KEEP + DAY) == 1
                projector = projector if remembers else projecting(store)
            await project(projector, more)
            document_id = ID.partition("|")[2]
            found.append(
                [await store.get(HUB, "deliveries", document_id), (await store.get(HUB, "cdrs", SESSION))]
            )
        finally:
            await store.close()
    assert found[0] == found[1]
    assert found[0][0] is not None
    assert (found[0][0]["state"], found[0][0]["attempts"]) == ("delivered", 1)


def projecting(store: SqliteReadStore) -> Projector:
    return Projector(store, registry.EVENTS, [delivery_view.VIEW], [])


async def project(projector: Projector, events: Sequence[Event]) -> None:
    for number, event in enumerate(events):
        one = fact(decision(event, meta=meta()), offset=number)
        await projector.handle(one.place, [one])
