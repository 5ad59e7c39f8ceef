"""A CPO posts CDRs of foreign tokens at the hub and reads them back (chapter CDRs, Receiver Interface)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from commands.directory import ReleaseParties
from commands.partner import Remove
from projections.store import HUB
from tests.api.ocpi.hub import Hub, checked, token_header
from tests.api.ocpi.test_lists import cdr_token
from tests.api.ocpi.test_tariffs import CPO, EMSP, OTHER, connected, tariff, to

URL = "/ocpi/2.3.0/receiver/cdrs"
LIST = "/ocpi/2.3.0/sender/cdrs"
SIGNED = {
    "encoding_method": "OCMF",
    "signed_values": [{"nature": "End", "plain_data": "x", "signed_data": "ID"}],
}


def cdr(**changes: Any) -> dict[str, Any]:
    """Ten kWh at 0.30 with 20 % on top."""
    body = {
        "country_code": "FR",
        "party_id": "CPO",
        "id": "C1",
        "start_date_time": "2026-03-01T10:00:00Z",
        "end_date_time": "2026-03-01T11:00:00Z",
        "session_id": "S1",
        "cdr_token": cdr_token(),
        "auth_method": "WHITELIST",
        "cdr_location": {
            "id": "LOC1",
            "address": "Rue 1",
            "city": "Lyon",
            "country": "FRA",
            "coordinates": {"latitude": "45.76404", "longitude": "4.83566"},
            "evse_uid": "E1",
            "evse_id": "FR*CPO*E1",
            "connector_id": "1",
            "connector_standard": "IEC_62196_T2",
            "connector_format": "SOCKET",
            "connector_power_type": "AC_3_PHASE",
        },
        "currency": "EUR",
        "tariffs": [tariff()],
        "charging_periods": [
            {
                "start_date_time": "2026-03-01T10:00:00Z",
                "dimensions": [{"type": "ENERGY", "volume": 10}, {"type": "TIME", "volume": 1}],
                "tariff_id": "T1",
            }
        ],
        "total_cost": {"before_taxes": 3, "taxes": [{"name": "VAT", "amount": 0.6}]},
        "total_energy": 10,
        "total_time": 1,
        "last_updated": "2026-03-01T11:05:00Z",
        **changes,
    }
    return {name: value for name, value in body.items() if value is not ...}


def older_version() -> dict[str, Any]:
    prices = {name: value for name, value in tariff().items() if name != "tax_included"}
    return cdr(tariffs=[prices], total_cost={"excl_vat": 3, "incl_vat": 3.6})


async def post(hub: Hub, headers: dict[str, str] = CPO, **changes: Any) -> Any:
    return await hub.client.post(URL, headers=headers, json=cdr(**changes))


async def stored(hub: Hub, id: str = "FR*CPO|c1") -> Any:
    return await hub.store.get(HUB, "cdrs", id)


async def test_a_cdr_is_posted_and_read_back_at_its_location(hub: Hub) -> None:
    await connected(hub)
    response = await post(hub)
    assert checked(response, 201) is None
    url = response.headers["Location"]
    assert url == "http://hub.test/ocpi/2.3.0/receiver/cdrs/FR*CPO*C1"
    assert checked(await hub.client.get(url, headers=CPO)) == cdr()
    assert checked(await hub.client.get(LIST, headers=EMSP)) == [cdr()]
    assert checked(await hub.client.get(LIST, headers=OTHER)) == []


async def test_posted_three_times_at_once_it_is_one(hub: Hub) -> None:
    await connected(hub)
    requests = [post(hub, {**CPO, "X-Request-ID": f"r-{n}"}) for n in (1, 1, 2)]
    answers = await asyncio.gather(*requests)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 201]
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert (await stored(hub))["version"] == 2


async def test_the_same_content_spelled_another_way_is_the_same_cdr(hub: Hub) -> None:
    """JSON (RFC 8259): 10.0 is 10, and the names of an object have no order."""
    await connected(hub)
    checked(await post(hub, x={"a": 1, "b": 2}), 201)
    again = dict(reversed(cdr(total_energy=10.0, x={"b": 2.0, "a": 1}).items()))
    checked(await hub.client.post(URL, headers=CPO, json=again), 200)


async def test_another_content_with_its_id_is_refused_with_the_way_out(hub: Hub) -> None:
    """CDRs cannot be changed (chapter CDRs, Credit CDRs)."""
    await connected(hub)
    await post(hub)
    for changes in ({"total_energy": 11}, {"cdr_token": cdr_token("OTHER-UID")}):
        response = await post(hub, **changes)
        checked(response, 200, 2001)
        assert "Credit CDR" in response.json()["status_message"]
    assert checked(await hub.client.get(LIST, headers=EMSP)) == [cdr()]


async def test_a_credit_cdr_is_one_of_its_own_and_its_total_is_the_negated_one(hub: Hub) -> None:
    await connected(hub)
    await post(hub)
    total = {"before_taxes": -3, "taxes": [{"name": "VAT", "amount": -0.6}]}
    credit: dict[str, Any] = {"id": "C1-C", "credit": True, "credit_reference_id": "C1", "total_cost": total}
    checked(await post(hub, **credit), 201)
    assert (await stored(hub, "FR*CPO|c1-c"))["check"]["outcome"] == "equal"
    checked(await post(hub, id="C2", credit=True), 200, 2001)


@pytest.mark.parametrize(
    ("changes", "outcome", "path"),
    [
        ({}, "equal", None),
        ({"total_cost": {"before_taxes": 4}}, "differs", "total_cost.before_taxes"),
        ({"total_energy": 12}, "differs", "total_energy"),
        ({"currency": "USD"}, "differs", "currency"),
        ({"currency": "eur"}, "equal", None),
        ({"tariffs": ...}, "not_checked", None),
    ],
)
async def test_each_is_priced_again_and_a_difference_is_explained(
    hub: Hub, changes: dict[str, Any], outcome: str, path: str | None
) -> None:
    await connected(hub)
    checked(await post(hub, **changes), 201)
    document = await stored(hub)
    found = [one["path"] for one in document["check"]["differences"]]
    assert (document["check"]["outcome"], found) == (outcome, [path] if path else [])
    if path == "total_cost.before_taxes":
        (difference,) = document["check"]["differences"]
        assert (difference["stated"], difference["expected"]) == (4, 3)
        assert "3.00 expected, 4.00 stated" in difference["why"]
        assert document["explanation"]


@pytest.mark.parametrize(("currency", "outcome"), [("ISK", "equal"), ("JPY", "equal"), ("EUR", "differs")])
async def test_where_money_has_no_minor_unit_it_may_be_rounded_to_the_unit(
    hub: Hub, currency: str, outcome: str
) -> None:
    """ISO 4217: neither krónur nor yen have decimals, so that 0.6 of them are 1."""
    await connected(hub)
    total = {"before_taxes": 3, "taxes": [{"name": "VAT", "amount": 1}]}
    priced = [tariff(currency=currency)]
    checked(await post(hub, currency=currency, tariffs=priced, total_cost=total), 201)
    assert (await stored(hub))["check"]["outcome"] == outcome


async def test_one_without_tariffs_is_priced_by_what_its_cpo_put_here(hub: Hub) -> None:
    await connected(hub)
    url = "/ocpi/2.3.0/receiver/tariffs/FR/CPO/T1"
    checked(await hub.client.put(url, headers=CPO, json=tariff()), 201)
    checked(await post(hub, tariffs=...), 201)
    assert (await stored(hub))["check"]["outcome"] == "equal"
    dear = [{"price_components": [{"type": "ENERGY", "price": 0.5, "vat": 20, "step_size": 1}]}]
    body = tariff(elements=dear)
    checked(await hub.client.put(url, headers=to("NL*TNM"), json=body), 201)
    checked(await post(hub, id="C2", tariffs=...), 201)
    assert (await stored(hub, "FR*CPO|c2"))["check"]["outcome"] == "differs"


async def test_the_tariffs_of_who_spoke_for_its_cpo_before_price_nothing(hub: Hub) -> None:
    await connected(hub)
    url = "/ocpi/2.3.0/receiver/tariffs/FR/CPO/T1"
    checked(await hub.client.put(url, headers=CPO, json=tariff()), 201)
    await hub.do(Remove(partner_id="cpo"))
    await hub.do(ReleaseParties(owner="cpo"))
    hub.later(1)
    await hub.connect("next", "next-c", parties=("FR*CPO",), role="CPO")
    checked(await post(hub, token_header("next-c"), tariffs=...), 201)
    assert (await stored(hub))["check"]["outcome"] == "not_checked"


async def test_where_prices_go_by_local_time_that_is_not_known_a_difference_says_nothing(hub: Hub) -> None:
    await connected(hub)
    at_night = {**tariff()["elements"][0], "restrictions": {"start_time": "11:30", "end_time": "12:30"}}
    checked(await post(hub, tariffs=[tariff(elements=[at_night])]), 201)
    document = await stored(hub)
    assert document["check"]["outcome"] == "not_checked"
    assert "local time" in document["warnings"][0]


async def test_both_versions_read_what_either_one_posted(hub: Hub) -> None:
    await connected(hub)
    response = await hub.client.post(URL.replace("2.3.0", "2.2.1"), headers=CPO, json=older_version())
    checked(response, 201)
    url = response.headers["Location"]
    assert "/2.2.1/" in url
    assert checked(await hub.client.get(url, headers=CPO)) == older_version()
    assert checked(await hub.client.get(url.replace("2.2.1", "2.3.0"), headers=CPO)) == cdr()
    assert checked(await hub.client.get(LIST.replace("2.3.0", "2.2.1"), headers=EMSP)) == [older_version()]
    checked(await post(hub), 200)


async def test_who_did_not_post_it_finds_nothing_there(hub: Hub) -> None:
    await connected(hub)
    await hub.connect("next", "next-c", parties=("BE*CPO",), role="CPO")
    url = (await post(hub)).headers["Location"]
    checked(await hub.client.get(url, headers=token_header("next-c")), 404, 2001)
    for wrong in (EMSP, OTHER):
        checked(await hub.client.get(url, headers=wrong), 200, 2000)
    checked(await hub.client.get(url, headers=to("FR*OTH")), 404, 2001)
    assert checked(await hub.client.get(url, headers=to("NL*TNM"))) == cdr()
    checked(await post(hub, token_header("next-c")), 200, 2001)
    checked(await post(hub, EMSP), 200, 2000)
    for path in ("C1", "FR*CPO*C9", "FR*CPO", "**", "%2E%2E"):
        checked(await hub.client.get(f"{URL}/{path}", headers=CPO), 404, 2001)


async def test_it_is_for_the_party_of_its_token_or_for_nobody(hub: Hub) -> None:
    await connected(hub)
    checked(await post(hub, to("DE*HUB")), 200, 2001)
    checked(await post(hub, to("FR*OTH")), 200, 2001)
    checked(await post(hub, cdr_token={**cdr_token(), "party_id": "XXX"}), 200, 4001)
    assert await stored(hub) is None
    checked(await post(hub, to("NL*TNM")), 201)


async def test_the_log_holds_no_token_and_no_signed_data_in_the_clear(hub: Hub) -> None:
    """Meters write the uid into what they sign."""
    await connected(hub)
    response = await post(hub, signed_data=SIGNED)
    written = msgspec.json.encode([command for command, _ in hub.bus.asked])
    assert b"012345678" not in written and b"NL-TNM-C1" not in written and b"OCMF" not in written
    url = response.headers["Location"]
    assert checked(await hub.client.get(url, headers=CPO)) == cdr(signed_data=SIGNED)
    assert checked(await hub.client.get(LIST, headers=EMSP)) == [cdr(signed_data=SIGNED)]
    document = await stored(hub)
    assert "signed_data" not in document["cdr"]


async def test_a_token_of_a_tenant_of_ours_is_kept_for_that_one(hub: Hub) -> None:
    await connected(hub)
    checked(await post(hub, cdr_token={**cdr_token(), "country_code": "DE", "party_id": "DEM"}), 201)
    document = await stored(hub)
    assert (document["receiver_tenant"], document["holder"], document["tenant_id"]) == ("demo", None, None)


async def test_the_id_stays_taken_when_the_cpo_changes_hands(hub: Hub) -> None:
    await connected(hub)
    url = (await post(hub)).headers["Location"]
    await hub.do(Remove(partner_id="cpo"))
    await hub.do(ReleaseParties(owner="cpo"))
    hub.later(1)
    await hub.connect("next", "next-c", parties=("FR*CPO",), role="CPO")
    following = token_header("next-c")
    checked(await hub.client.get(url, headers=following), 404, 2001)
    checked(await post(hub, following, total_energy=11), 200, 2001)
    checked(await post(hub, following, id="C2"), 201)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"charging_periods": []}, "charging_periods"),
        ({"total_cost": ...}, "total_cost"),
        ({"cdr_location": {}}, "cdr_location"),
        ({"country_code": "BE"}, "country_code"),
    ],
)
async def test_what_is_wrong_in_a_cdr_is_2001_by_its_name(hub: Hub, changes: Any, named: str) -> None:
    await connected(hub)
    response = await post(hub, **changes)
    checked(response, 200, 2001)
    assert named in response.json()["status_message"]
    assert await stored(hub) is None
