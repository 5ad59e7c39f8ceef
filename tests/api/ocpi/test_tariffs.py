"""A CPO puts, reads back and takes away its tariffs at the hub, for all or for one party (chapter Tariffs)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.directory import ReleaseParties
from commands.partner import Remove
from tests.api.ocpi.hub import Hub, checked, token_header
from tests.api.ocpi.test_lists import keep_tenant
from tests.api.ocpi.test_lists import tariff as ours

CPO, EMSP, OTHER = token_header("cpo-c"), token_header("token-c"), token_header("other-c")
URL = "/ocpi/2.3.0/receiver/tariffs/FR/CPO/T1"
LIST = "/ocpi/2.3.0/sender/tariffs"


def tariff(**changes: Any) -> dict[str, Any]:
    body = {
        "country_code": "FR",
        "party_id": "CPO",
        "id": "T1",
        "currency": "EUR",
        "elements": [{"price_components": [{"type": "ENERGY", "price": 0.3, "vat": 20, "step_size": 1}]}],
        "tax_included": "NO",
        "last_updated": "2026-02-01T11:00:00Z",
        **changes,
    }
    return {name: value for name, value in body.items() if value is not ...}


def older_version(**changes: Any) -> dict[str, Any]:
    return tariff(tax_included=..., max_price={"excl_vat": 10, "incl_vat": 12}, **changes)


def to(party: str, headers: dict[str, str] = CPO) -> dict[str, str]:
    return {**headers, "OCPI-to-country-code": party[:2], "OCPI-to-party-id": party[3:]}


async def connected(hub: Hub) -> None:
    """A CPO, two eMSPs of which one receives tariffs, and a tenant."""
    await hub.connect("cpo", "cpo-c", parties=("FR*CPO",), role="CPO")
    await hub.connect(receives=("tariffs",))
    await hub.connect("other", "other-c", parties=("FR*OTH",))
    await keep_tenant(hub)


async def put(hub: Hub, headers: dict[str, str] = CPO, url: str = URL, **changes: Any) -> Any:
    return await hub.client.put(url, headers=headers, json=tariff(**changes))


async def seen(hub: Hub, headers: dict[str, str], url: str = LIST) -> Any:
    return checked(await hub.client.get(url, headers=headers))


async def test_a_tariff_is_put_read_back_and_taken_away(hub: Hub) -> None:
    await connected(hub)
    checked(await put(hub), 201)
    checked(await put(hub, currency="SEK", last_updated="2026-02-01T12:00:00Z"), 200)
    assert await seen(hub, CPO, URL) == tariff(currency="SEK", last_updated="2026-02-01T12:00:00Z")
    assert await seen(hub, CPO, URL.replace("FR/CPO/T1", "fr/cpo/t1")) == await seen(hub, CPO, URL)
    checked(await hub.client.delete(URL, headers=CPO))
    checked(await hub.client.get(URL, headers=CPO), 404, 2001)
    checked(await hub.client.delete(URL, headers={**CPO, "X-Request-ID": "again"}), 404, 2001)
    assert await seen(hub, EMSP) == []


async def test_an_older_tariff_is_acknowledged_and_not_applied(hub: Hub) -> None:
    await connected(hub)
    await put(hub)
    late = await put(hub, currency="SEK", last_updated="2026-01-31T11:00:00Z")
    checked(late)
    assert late.json()["status_message"] == "not newer than what is known"
    assert (await seen(hub, CPO, URL))["currency"] == "EUR"


@pytest.mark.parametrize("headers", [CPO, to("DE*HUB")], ids=["nobody", "the hub"])
async def test_one_that_is_given_to_the_hub_is_for_all(hub: Hub, headers: dict[str, str]) -> None:
    """Where another platform receives tariffs too: it reads them here (chapter Hub, GET All via Hub)."""
    await connected(hub)
    checked(await put(hub, headers), 201)
    hub.later(1)
    await hub.do(ours("T2"))
    for partner in (EMSP, OTHER):
        assert [one["id"] for one in await seen(hub, partner)] == ["T1", "T2"]
        assert await seen(hub, to("FR*CPO", partner)) == [tariff()]


async def test_one_that_is_given_to_a_party_is_for_that_one_alone_and_may_differ(hub: Hub) -> None:
    await connected(hub)
    checked(await put(hub, to("NL*TNM"), currency="SEK"), 201)
    assert await seen(hub, EMSP) == [tariff(currency="SEK")]
    assert await seen(hub, OTHER) == []
    checked(await hub.client.get(URL, headers=CPO), 404, 2001)
    checked(await put(hub), 201)
    assert await seen(hub, to("NL*TNM"), URL) == tariff(currency="SEK")
    assert await seen(hub, CPO, URL) == tariff()
    assert await seen(hub, OTHER) == [tariff()]
    checked(await hub.client.delete(URL, headers=to("NL*TNM")))
    assert await seen(hub, EMSP) == [tariff()]
    checked(await put(hub, to("ES*NON")), 200, 4001)


async def test_both_versions_read_what_either_one_put(hub: Hub) -> None:
    await connected(hub)
    older = URL.replace("2.3.0", "2.2.1")
    checked(await hub.client.put(older, headers=CPO, json=older_version()), 201)
    assert await seen(hub, CPO, older) == older_version()
    newer = tariff(max_price={"before_taxes": 10, "after_taxes": 12})
    assert await seen(hub, CPO, URL) == newer
    assert await seen(hub, EMSP) == [newer]
    assert await seen(hub, EMSP, "/ocpi/2.2.1/sender/tariffs") == [older_version()]


async def test_what_came_late_is_in_the_window_of_the_next_pull(hub: Hub) -> None:
    """The hub leaves `last_updated` as it is; a window is by when the tariff came here, too."""
    await connected(hub)
    await put(hub)
    assert await seen(hub, EMSP, f"{LIST}?date_from=2026-03-01T11:59:00Z") == [tariff()]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"id": "T2"}, "id"),
        ({"country_code": "NL"}, "country_code"),
        ({"currency": ...}, "currency"),
        ({"elements": []}, "elements"),
    ],
)
async def test_what_is_wrong_in_a_tariff_is_2001_by_its_name(
    hub: Hub, changes: dict[str, Any], named: str
) -> None:
    await connected(hub)
    response = await put(hub, **changes)
    checked(response, 200, 2001)
    assert named in response.json()["status_message"]
    assert await seen(hub, EMSP) == []


async def test_a_number_that_cannot_be_kept_as_it_is_is_2001(hub: Hub) -> None:
    await connected(hub)
    text = msgspec.json.encode(tariff()).replace(b"0.3", b"0.300000000000000000001")
    checked(await hub.client.put(URL, headers=CPO, content=text), 200, 2001)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_who_is_no_cpo_or_another_one_finds_no_tariff_there(hub: Hub, method: str) -> None:
    await connected(hub)
    await hub.connect("next", "next-c", parties=("BE*CPO",), role="CPO")
    await put(hub)
    body = None if method != "PUT" else tariff(currency="SEK", last_updated="2026-03-01T11:00:00Z")
    for headers in (token_header("next-c"), EMSP, OTHER):
        response = await hub.client.request(method, URL, headers=headers, json=body)
        assert response.json()["status_code"] in (2000, 2001)
    assert await seen(hub, CPO, URL) == tariff()


async def test_when_a_party_changes_hands_its_tariffs_are_not_the_next_ones(hub: Hub) -> None:
    await connected(hub)
    await put(hub)
    await hub.do(Remove(partner_id="cpo"))
    await hub.do(ReleaseParties(owner="cpo"))
    assert await seen(hub, EMSP) == []
    hub.later(1)
    await hub.connect("next", "next-c", parties=("FR*CPO",), role="CPO")
    following = token_header("next-c")
    assert await seen(hub, EMSP) == []
    checked(await hub.client.get(URL, headers=following), 404, 2001)
    checked(await hub.client.delete(URL, headers=following), 404, 2001)
    checked(await put(hub, following, last_updated="2026-01-01T11:00:00Z"), 201)
    assert await seen(hub, EMSP) == [tariff(last_updated="2026-01-01T11:00:00Z")]
