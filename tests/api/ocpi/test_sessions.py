"""A CPO puts, patches and reads back sessions of foreign tokens at the hub (chapter Sessions, Receiver Interface)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.directory import ReleaseParties
from commands.partner import Remove
from commands.token import ErasePersonalData
from domain.token import owner_text
from projections.store import HUB
from tests.api.ocpi.hub import Hub, checked, token_header
from tests.api.ocpi.test_cdrs import cdr
from tests.api.ocpi.test_lists import cdr_token, keep_tenant
from tests.api.ocpi.test_tariffs import CPO, EMSP, OTHER, connected, tariff, to

URL = "/ocpi/2.3.0/receiver/sessions/FR/CPO/S1"
LIST = "/ocpi/2.3.0/sender/sessions"
PERIOD = {"start_date_time": "2026-03-01T11:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 1.5}]}
LATER = "2026-03-01T11:30:00Z"


def session(**changes: Any) -> dict[str, Any]:
    body = {
        "country_code": "FR",
        "party_id": "CPO",
        "id": "S1",
        "start_date_time": "2026-03-01T11:00:00Z",
        "kwh": 1.5,
        "cdr_token": cdr_token(),
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "charging_periods": [PERIOD],
        "total_cost": {"before_taxes": 2, "taxes": [{"name": "VAT", "amount": 0.4}]},
        "status": "ACTIVE",
        "last_updated": "2026-03-01T11:10:00Z",
        **changes,
    }
    return {name: value for name, value in body.items() if value is not ...}


async def put(hub: Hub, headers: dict[str, str] = CPO, url: str = URL, **changes: Any) -> Any:
    return await hub.client.put(url, headers=headers, json=session(**changes))


async def patch(hub: Hub, headers: dict[str, str] = CPO, url: str = URL, **changes: Any) -> Any:
    return await hub.client.patch(url, headers=headers, json={"last_updated": LATER, **changes})


async def seen(hub: Hub, headers: dict[str, str] = CPO, url: str = URL) -> Any:
    return checked(await hub.client.get(url, headers=headers))


async def test_a_session_is_put_read_back_and_replaced_as_a_whole(hub: Hub) -> None:
    await connected(hub)
    checked(await put(hub), 201)
    assert await seen(hub) == session()
    checked(await put(hub, charging_periods=..., kwh=2, last_updated=LATER), 200)
    assert await seen(hub) == session(charging_periods=..., kwh=2, last_updated=LATER)
    assert await seen(hub, url=URL.replace("FR/CPO/S1", "fr/cpo/s1")) == await seen(hub)


async def test_a_patch_changes_what_it_names_and_appends_periods(hub: Hub) -> None:
    await connected(hub)
    await put(hub)
    more = {**PERIOD, "start_date_time": LATER}
    checked(await patch(hub, kwh=3, charging_periods=[more], authorization_reference="R1"))
    assert await seen(hub) == session(
        kwh=3, charging_periods=[PERIOD, more], authorization_reference="R1", last_updated=LATER
    )


async def test_a_repeated_patch_appends_its_periods_once_whatever_its_request_id_is(hub: Hub) -> None:
    await connected(hub)
    await put(hub)
    for request in ("r-1", "r-1", "r-2"):
        checked(await patch(hub, {**CPO, "X-Request-ID": request}, charging_periods=[PERIOD]))
    assert len((await seen(hub))["charging_periods"]) == 2


async def test_what_is_older_is_acknowledged_and_not_applied(hub: Hub) -> None:
    await connected(hub)
    await put(hub, last_updated="2026-03-01T11:59:00Z")
    for late in (await put(hub), await patch(hub, kwh=99)):
        checked(late)
        assert late.json()["status_message"] == "not newer than what is known"
    assert (await seen(hub))["kwh"] == 1.5


async def test_a_patch_of_an_unknown_session_is_HTTP_404(hub: Hub) -> None:
    await connected(hub)
    checked(await patch(hub, kwh=3), 404, 2001)
    checked(await hub.client.get(URL, headers=CPO), 404, 2001)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"last_updated": None}, "last_updated"),
        ({"last_updated": "yesterday"}, "last_updated"),
        ({"kwh": None}, "kwh"),
        ({"kwh": "much"}, "kwh"),
        ({"id": "S2"}, "id"),
        ({"cdr_token": {"contract_id": "X"}}, "cdr_token.country_code"),
        ({"cdr_token": None}, "cdr_token"),
        ({"charging_periods": [{}]}, "charging_periods[0]"),
    ],
)
async def test_a_patch_that_cannot_be_is_2001_and_changes_nothing(hub: Hub, changes: Any, named: str) -> None:
    await connected(hub)
    await put(hub)
    response = await patch(hub, **changes)
    checked(response, 200, 2001)
    assert named in response.json()["status_message"]
    assert await seen(hub) == session()


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"id": "S2"}, "id"), ({"party_id": "ALF"}, "party_id"), ({"cdr_token": ...}, "cdr_token")],
)
async def test_what_is_wrong_in_a_session_is_2001_by_its_name(hub: Hub, changes: Any, named: str) -> None:
    await connected(hub)
    response = await put(hub, **changes)
    checked(response, 200, 2001)
    assert named in response.json()["status_message"]
    checked(await hub.client.get(URL, headers=CPO), 404, 2001)


@pytest.mark.parametrize("unknown", [{"x": 10**30}, {"x": [2**63]}, {"x\0": 1}, {"x": {"\0": 1}}], ids=str)
async def test_what_no_read_model_can_keep_is_2001_whatever_brings_it(hub: Hub, unknown: Any) -> None:
    """A fact that MongoDB refuses would hold up all facts behind it."""
    await connected(hub)
    checked(await put(hub, **unknown), 200, 2001)
    checked(await put(hub), 201)
    checked(await patch(hub, **unknown), 200, 2001)
    base = "/ocpi/2.3.0/receiver"
    checked(await hub.client.put(f"{base}/tariffs/FR/CPO/T1", headers=CPO, json=tariff(**unknown)), 200, 2001)
    checked(await hub.client.post(f"{base}/cdrs", headers=CPO, json=cdr(**unknown)), 200, 2001)
    assert await seen(hub) == session()


async def test_both_versions_read_and_patch_what_either_one_put(hub: Hub) -> None:
    await connected(hub)
    older = URL.replace("2.3.0", "2.2.1")
    body = session(total_cost={"excl_vat": 2, "incl_vat": 2.4})
    checked(await hub.client.put(older, headers=CPO, json=body), 201)
    assert await seen(hub, url=older) == body
    assert await seen(hub) == session()
    checked(await patch(hub, url=older, total_cost={"excl_vat": 3, "incl_vat": 3.6}))
    assert (await seen(hub))["total_cost"] == {"before_taxes": 3, "taxes": [{"name": "VAT", "amount": 0.6}]}
    assert (await seen(hub, EMSP, LIST))[0]["kwh"] == 1.5
    (listed,) = await seen(hub, EMSP, LIST.replace("2.3.0", "2.2.1"))
    assert listed["total_cost"] == {"excl_vat": 3, "incl_vat": 3.6}


async def test_the_eMSP_of_the_token_reads_it_and_nobody_else_does(hub: Hub) -> None:
    await connected(hub)
    await hub.connect("next", "next-c", parties=("BE*CPO",), role="CPO")
    await put(hub)
    assert await seen(hub, EMSP, LIST) == [session()]
    assert await seen(hub, to("FR*CPO", EMSP), LIST) == [session()]
    assert await seen(hub, OTHER, LIST) == []
    for wrong in (EMSP, OTHER, token_header("next-c")):
        for method in ("GET", "PUT", "PATCH"):
            response = await hub.client.request(
                method, URL, headers=wrong, json=session(last_updated=LATER) if method != "GET" else None
            )
            assert response.json()["status_code"] in (2000, 2001)
    assert await seen(hub) == session()


async def test_a_token_of_a_tenant_of_ours_is_kept_for_that_one(hub: Hub) -> None:
    await connected(hub)
    mine = {**cdr_token(), "country_code": "DE", "party_id": "DEM"}
    checked(await put(hub, cdr_token=mine), 201)
    document = await hub.store.get(HUB, "sessions", "FR*CPO|s1")
    assert document is not None
    assert (document["receiver_tenant"], document["holder"], document["tenant_id"]) == ("demo", None, None)
    assert await seen(hub) == session(cdr_token=mine)


async def test_a_token_that_nobody_speaks_for_is_4001_and_nothing_is_kept(hub: Hub) -> None:
    """Open routing (chapter Hub): by the party of the token."""
    await connected(hub)
    for party in ({"party_id": "XXX"}, {"country_code": "FR", "party_id": "CPO"}):
        checked(await put(hub, cdr_token={**cdr_token(), **party}), 200, 4001)
    checked(await hub.client.get(URL, headers=CPO), 404, 2001)
    await put(hub)
    checked(await patch(hub, cdr_token={**cdr_token(), "party_id": "XXX"}), 200, 4001)


async def test_it_is_for_the_party_of_its_token_or_for_nobody(hub: Hub) -> None:
    """A session is no broadcast: it concerns one party (chapter Hub, Broadcast Push)."""
    await connected(hub)
    checked(await put(hub, to("DE*HUB")), 200, 2001)
    checked(await put(hub, to("FR*OTH")), 200, 2001)
    checked(await put(hub, to("ES*NON")), 200, 4001)
    checked(await put(hub, to("NL*TNM")), 201)
    checked(await patch(hub, to("FR*OTH"), kwh=3), 200, 2001)
    checked(await patch(hub, to("NL*TNM"), kwh=3))
    assert (await seen(hub, to("NL*TNM")))["kwh"] == 3
    checked(await hub.client.get(URL, headers=to("FR*OTH")), 404, 2001)


async def test_the_log_holds_no_token_in_the_clear(hub: Hub) -> None:
    await connected(hub)
    await put(hub)
    checked(await patch(hub, cdr_token=cdr_token("ANOTHER-UID")))
    written = msgspec.json.encode([command for command, _ in hub.bus.asked])
    assert b"012345678" not in written and b"ANOTHER-UID" not in written and b"NL-TNM-C1" not in written
    assert (await seen(hub))["cdr_token"]["uid"] == "ANOTHER-UID"


async def test_of_a_uid_that_a_tenant_erased_no_token_is_kept(hub: Hub) -> None:
    await connected(hub)
    mine = {**cdr_token(), "country_code": "DE", "party_id": "DEM"}
    await put(hub, cdr_token=mine)
    subjects = hub.vault.subjects_of(owner_text(None, "demo"), "012345678")
    key = hub.vault.token_key("RFID", "012345678")
    await hub.do(ErasePersonalData(tenant="demo", key=key, subjects=subjects))
    for subject in subjects:
        await hub.vault.destroy(subject)
    assert (await seen(hub))["cdr_token"]["uid"] == "#NA"


async def test_when_the_cpo_changes_hands_its_sessions_are_not_the_next_ones(hub: Hub) -> None:
    await connected(hub)
    await put(hub)
    await hub.do(Remove(partner_id="cpo"))
    await hub.do(ReleaseParties(owner="cpo"))
    hub.later(1)
    await hub.connect("next", "next-c", parties=("FR*CPO",), role="CPO")
    following = token_header("next-c")
    checked(await hub.client.get(URL, headers=following), 404, 2001)
    checked(await patch(hub, following, kwh=9), 404, 2001)
    checked(await put(hub, following, last_updated="2026-03-01T10:00:00Z"), 201)


async def test_when_the_eMSP_changes_hands_the_next_one_sees_nothing_of_before(hub: Hub) -> None:
    await connected(hub)
    await put(hub)
    await hub.do(Remove(partner_id="tnm"))
    await hub.do(ReleaseParties(owner="tnm"))
    hub.later(1)
    await hub.connect("next", "next-c", parties=("NL*TNM",))
    assert await seen(hub, token_header("next-c"), LIST) == []


async def test_an_invalid_session_of_others_is_told_as_it_was_told_that_it_ran(hub: Hub) -> None:
    await connected(hub)
    await put(hub)
    await patch(hub, status="INVALID")
    assert [one["status"] for one in await seen(hub, EMSP, LIST)] == ["INVALID"]


async def test_the_id_may_hold_what_separates_paths(hub: Hub) -> None:
    await connected(hub)
    await keep_tenant(hub, "acme", "ACM")
    url = URL.replace("S1", "a%2Fb%7C..%20c")
    checked(await put(hub, url=url, id="A/b|.. c"), 201)
    assert (await seen(hub, url=url))["id"] == "A/b|.. c"
