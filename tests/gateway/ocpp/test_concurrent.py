"""A tag that charges at one charge point of its tenant at a time, asked of the log by the gateway."""

from __future__ import annotations

from typing import Any

import msgspec

from commands.tag import ClaimTag
from tests.gateway.ocpp.fakes import QUICK, SETTINGS, World

ONCE = msgspec.structs.replace(SETTINGS, concurrent_transactions=False)


def start(w: World, meter: int = 1000) -> dict[str, Any]:
    began = w.clock.now().isoformat().replace("+00:00", "Z")
    return {"connectorId": 1, "idTag": "ALICE", "meterStart": meter, "timestamp": began}


async def two_charge_points(settings: Any) -> World:
    w = World(QUICK)
    w.tenant(settings=settings)
    for id in ("CP-1", "CP-2"):
        await w.charge_point(id)
    w.port = await w.gateway.start("127.0.0.1", 0)
    return w


async def test_a_tag_that_charges_is_ConcurrentTx_at_another_charge_point_of_a_tenant_that_allows_one() -> (
    None
):
    w = await two_charge_points(ONCE)
    try:
        async with w.connected("CP-1") as first, w.connected("CP-2") as second:
            w.clock.move(90)
            assert (await first.call("StartTransaction", start(w)))["idTagInfo"]["status"] == "Accepted"
            w.clock.move(5)
            answer = await second.call("StartTransaction", start(w))
            assert (answer["idTagInfo"]["status"], answer["transactionId"]) == ("ConcurrentTx", 1)
            # Authorize is answered as before, and asks the log nothing more (AUTH-1).
            asked = len([one for one in w.bus.told if isinstance(one, ClaimTag)])
            assert (await second.call("Authorize", {"idTag": "ALICE"}))["idTagInfo"]["status"] == "Accepted"
            assert len([one for one in w.bus.told if isinstance(one, ClaimTag)]) == asked == 2
    finally:
        await w.gateway.stop()


async def test_where_several_are_allowed_a_start_asks_nothing_more() -> None:
    w = await two_charge_points(SETTINGS)
    try:
        async with w.connected("CP-1") as first, w.connected("CP-2") as second:
            w.clock.move(90)
            for cp in (first, second):
                answer = await cp.call("StartTransaction", start(w))
                assert answer["idTagInfo"]["status"] == "Accepted"
            assert not [one for one in w.bus.told if isinstance(one, ClaimTag)]
    finally:
        await w.gateway.stop()


async def test_while_the_log_is_away_no_start_is_answered_by_whoever_cannot_ask_for_its_tag() -> None:
    w = await two_charge_points(ONCE)
    try:
        async with w.connected("CP-1") as cp:
            w.bus.refuse = ClaimTag
            await cp.send_call("StartTransaction", start(w))
            assert await cp.closed() == (1013, "log away")
    finally:
        await w.gateway.stop()
