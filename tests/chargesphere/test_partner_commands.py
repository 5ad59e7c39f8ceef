"""An eMSP's app starts and stops a charge through the whole product, and hears what became of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from api.auth import issue_token
from chargesphere.demo.api_client import ApiClient
from chargesphere.demo.charge_point import SimulatedChargePoint
from chargesphere.demo.cpo import Cpo
from chargesphere.demo.emsp import Emsp, make_cards
from chargesphere.demo.scenery import CONNECTORS, connect_partners, furnish, offered
from chargesphere.process import ALL, Plan, announce, running
from chargesphere.settings import read_settings
from tests.streams.harness import until

APP_UID = "f3b1d9f0-5a4c-4c6e-9a43-2f6f0a1b2c3d"


@pytest.mark.long(7)
async def test_an_app_starts_and_stops_a_charge_and_hears_what_became_of_it(tmp_path: Path) -> None:
    cards = make_cards(4)
    emsp, cpo = Emsp(cards, refuse_every=0), Cpo()
    plan = Plan(frozenset(ALL), "serve", "127.0.0.1", 0, 0, tmp_path)
    async with running(plan, read_settings({})) as process, emsp.serving(), cpo.serving():
        await announce(plan, process)
        backbone = process.backbone
        api = ApiClient(
            process.http_url,
            lambda: issue_token(
                backbone.jwt_keys[0], "platform_admin", None, backbone.clock(), subject="ann"
            ),
        )
        places = await furnish(api)
        await connect_partners(api, emsp, cpo)
        place = places[0]
        url = f"{process.ocpp_url}/ocpp/{place.tenant}"
        device = SimulatedChargePoint(url, place.identity, place.password, connectors=CONNECTORS)
        charging = asyncio.create_task(device.run())
        try:
            await device.ready.wait()
            party, location, evse = offered(place.tenant, place.identity, 2)
            # Whitelist NEVER: were its owner not the one who asks, it would be asked in real time.
            card = cards[3]
            assert await emsp.start(card, location, evse, party) == "ACCEPTED"
            await until(lambda: any(one.status.value == "ACTIVE" for one in emsp.sessions.values()))
            [session] = emsp.sessions.values()
            assert (session.cdr_token.uid, session.evse_uid) == (card.uid, evse)
            assert session.auth_method.value == "COMMAND"
            assert session.authorization_reference is not None
            assert await emsp.start(card, location, evse, party) == "EVSE_OCCUPIED"
            assert await emsp.stop(card, party) == "ACCEPTED"
            await until(lambda: session.id.lower() in emsp.cdrs)
            assert emsp.cdrs[session.id.lower()]["authorization_reference"] == session.authorization_reference
            # An app's token that nobody has put here, with a uid that no charge point can be told.
            app = {**emsp.token(card), "type": "APP_USER", "uid": APP_UID, "contract_id": "NL-TNM-APP"}
            begin: dict[str, Any] = {
                "token": app,
                "location_id": location,
                "evse_uid": offered(place.tenant, place.identity, 1)[2],
            }
            assert await emsp.command("START_SESSION", begin, party) == "ACCEPTED"
            await until(lambda: APP_UID in {one.cdr_token.uid for one in emsp.sessions.values()})
            [charged] = [one for one in emsp.sessions.values() if one.cdr_token.uid == APP_UID]
            assert await emsp.command("STOP_SESSION", {"session_id": charged.id}, party) == "ACCEPTED"
            await until(lambda: charged.id.lower() in emsp.cdrs)
            listed = await api.ask("GET", "/commands", tenant=place.tenant, query={"partner": "demo-emsp"})
            commands = listed["items"]
            assert [(one["requested_by"], one["ocpi"]["command"]) for one in commands] == [
                ("partner:demo-emsp", "STOP_SESSION"),
                ("partner:demo-emsp", "START_SESSION"),
                ("partner:demo-emsp", "STOP_SESSION"),
                ("partner:demo-emsp", "START_SESSION"),
                ("partner:demo-emsp", "START_SESSION"),
            ]
            told = await api.every("/deliveries", tenant=place.tenant)
            results = {one["object_id"]: one["state"] for one in told if one["module"] == "commands"}
            assert results == {one["command_id"]: "delivered" for one in commands}
            assert (len(device.charges), emsp.violations, emsp.authorizations) == (2, [], 0)
        finally:
            charging.cancel()
            await asyncio.gather(charging, return_exceptions=True)
            await api.close()
