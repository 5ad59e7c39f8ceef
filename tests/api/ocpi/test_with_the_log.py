"""The doors over a real decider and projector on the embedded log, and two API processes beside each other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from application.read_back import wait_visible
from commands.base import Area
from commands.creating import CREATING
from gateway.ocpi import OcpiClient, Peers, UrlPolicy
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.deciding.decider import Decider
from streams.deciding.partition import Rules
from streams.following.follower import Follower
from streams.following.lag import Lag
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import topics
from streams.projecting.projector import Projector
from tests.api.ocpi.hub import EVENTS, ROUTES, VIEWS, Hub, Keys, checked, serving, token_header
from tests.api.ocpi.test_cdrs import cdr
from tests.api.ocpi.test_lists import keep_tenant, tariff
from tests.api.ocpi.test_sessions import session
from tests.api.ocpi.test_tariffs import CPO
from tests.api.ocpi.test_tokens import token
from tests.gateway.ocpi.peer import Platform

PROJECTED = [Area.PARTY, Area.TOKEN]
AREAS = [*PROJECTED, Area.SESSION]
"""What is decided. Of sessions no read model learns here."""


class Case:
    """Two API processes on one log and one read store, and a partner's platform."""

    def __init__(self, one: Hub, two: Hub, peer: Platform) -> None:
        self.one = one
        self.two = two
        self.peer = peer

    async def registered(self) -> dict[str, str]:
        """Registers at the first process; returns the header of token C."""
        self.peer.accepts.append("token-b")
        response = await self.one.client.post(
            "/ocpi/2.3.0/credentials",
            headers=token_header("token-a"),
            json=self.peer.credentials("token-b"),
        )
        return token_header(checked(response)["token"])


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    async with AsyncExitStack() as stack:
        log = SqliteLog(tmp_path / "log.db")
        await log.start()
        await log.ensure(topics(Layout()))
        stack.push_async_callback(log.close)
        peer = Platform()
        peer.base = await stack.enter_async_context(serving(peer.app))
        client = OcpiClient(UrlPolicy(allow_private_urls=True), timeout=5)
        stack.push_async_callback(client.aclose)
        channel, keys = LocalChannel("one"), Keys()
        bus = CommandBus(log, channel)
        lag = Lag(log, lambda: datetime.now(UTC), {Area.SESSION: ("projector",), Area.PARTY: ("projector",)})
        settings: dict[str, Any] = {"keys": keys, "visible_within": 5.0, "complete_within": 10.0}
        hubs = [Hub(tmp_path / "read", Peers(client), bus, readable=lag, **settings) for _ in range(2)]
        for hub in hubs:
            stack.push_async_callback(hub.close)
        rules = Rules(ROUTES, {}, EVENTS, CREATING)
        decider = Decider(log, rules, channel, "one", lambda: datetime.now(UTC), areas=AREAS)
        projector = Projector(hubs[0].store, EVENTS, VIEWS, ())
        follower = Follower(log, "projector", PROJECTED, "one", projector.handle)
        for running in (decider.run(), follower.run(), lag.run()):
            stack.push_async_callback(_ended, asyncio.create_task(running))
        await hubs[0].plan()
        assert await wait_visible(hubs[0].store, "chargesphere", "partners", "tnm", 1, patience=10)
        yield Case(hubs[0], hubs[1], peer)


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_registration_holds_at_once_in_every_process(case: Case) -> None:
    token_c = await case.registered()
    for hub in (case.two, case.one):
        checked(
            await hub.client.get(
                "/ocpi/2.3.0/sender/sessions?date_from=2026-01-01T00:00:00Z", headers=token_c
            )
        )
        checked(await hub.client.get("/ocpi/versions", headers=token_header("token-a")), 401, 2000)


async def test_a_token_is_read_back_at_once_from_another_process(case: Case) -> None:
    token_c = await case.registered()
    for n in range(10):
        url = f"/ocpi/2.3.0/receiver/tokens/NL/TNM/U{n}"
        body = token(uid=f"U{n}")
        checked(await case.one.client.put(url, headers=token_c, json=body), 201)
        assert checked(await case.two.client.get(url, headers=token_c)) == body


async def test_the_same_request_through_another_process_is_decided_once(case: Case) -> None:
    token_c = await case.registered()
    url, headers = "/ocpi/2.3.0/receiver/tokens/NL/TNM/012345678", {**token_c, "X-Request-ID": "r-1"}
    answers = await asyncio.gather(
        case.one.client.put(url, headers=headers, json=token()),
        case.two.client.put(url, headers=headers, json=token()),
    )
    assert [answer.status_code for answer in answers] == [201, 201]
    document = (await case.one.store.get_many("chargesphere", "tokens", [await _token_id(case)])).popitem()[1]
    assert document["version"] == 1


async def test_patches_of_one_token_through_two_processes_at_once_all_stay(case: Case) -> None:
    token_c = await case.registered()
    for n in range(10):
        url, last_updated = f"/ocpi/2.3.0/receiver/tokens/NL/TNM/U{n}", "2026-03-01T11:30:00Z"
        checked(await case.one.client.put(url, headers=token_c, json=token(uid=f"U{n}")), 201)
        changes: list[dict[str, Any]] = [{"issuer": "Other"}, {"visual_number": "V"}, {"valid": False}]
        answers = await asyncio.gather(
            *(
                hub.client.patch(url, headers=token_c, json={**change, "last_updated": last_updated})
                for hub, change in zip((case.one, case.two, case.one), changes, strict=True)
            )
        )
        for answer in answers:
            checked(answer)
        kept = token(uid=f"U{n}", issuer="Other", visual_number="V", valid=False, last_updated=last_updated)
        assert checked(await case.two.client.get(url, headers=token_c)) == kept


async def test_a_list_by_time_holds_all_that_was_answered_before_it_through_whatever_process(
    case: Case,
) -> None:
    token_c = await case.registered()
    await keep_tenant(case.one)
    for n in range(5):
        case.one.now = datetime.now(UTC)
        await case.one.do(tariff(f"T{n}", at=case.one.now))
        case.two.now = datetime.now(UTC)
        url = f"/ocpi/2.3.0/sender/tariffs?date_from={case.one.now:%Y-%m-%dT%H:%M:%S.%f}"
        (found,) = checked(await case.two.client.get(url, headers=token_c))
        assert found["id"] == f"T{n}"


async def test_what_a_cpo_pushes_is_decided_where_it_lies_whatever_process_and_read_model(case: Case) -> None:
    """A PATCH at another process whose PUT no read model has yet is no 404, and three POSTs at once are one CDR."""
    await case.registered()
    await case.one.connect("cpo", "cpo-c", parties=("FR*CPO",), role="CPO")
    assert await wait_visible(case.two.store, "chargesphere", "partners", "cpo", 2, patience=10)
    for hub in (case.one, case.two):
        object.__setattr__(hub.ports, "visible_within", 0.01)
    url = "/ocpi/2.3.0/receiver/sessions/FR/CPO/S1"
    checked(await case.one.client.put(url, headers=CPO, json=session()), 201)
    changes = {"kwh": 3, "last_updated": "2026-03-01T11:30:00Z"}
    checked(await case.two.client.patch(url, headers=CPO, json=changes))
    answers = await asyncio.gather(
        *(
            hub.client.post("/ocpi/2.3.0/receiver/cdrs", headers={**CPO, "X-Request-ID": str(n)}, json=cdr())
            for n, hub in enumerate((case.one, case.two, case.one))
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 200, 201]
    assert len({answer.headers["Location"] for answer in answers}) == 1


async def _token_id(case: Case) -> str:
    return f"NL*TNM|{case.one.vault.token_key('RFID', '012345678')}"
