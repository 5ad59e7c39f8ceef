"""Quotes by REST: what a charge at a connector, or by tariffs, would cost."""

from __future__ import annotations

from typing import Any

import pytest

from api.v1.quotes import Quote
from domain.values import PartyId
from projections.tariff import tariff_document_id
from tests.api.v1.world import World, problem

CONNECTOR: dict[str, Any] = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "SOCKET",
    "power_type": "AC_3_PHASE",
    "max_voltage": 230,
    "max_amperage": 16,
    "tariff_ids": ["day"],
}
DAY = {
    "country_code": "DE",
    "party_id": "DEM",
    "id": "DAY",
    "currency": "EUR",
    "tax_included": "N/A",
    "elements": [
        {
            "price_components": [
                {"type": "FLAT", "price": 0.5, "step_size": 1},
                {"type": "ENERGY", "price": 0.3, "step_size": 1},
                {"type": "PARKING_TIME", "price": 2, "step_size": 1},
            ]
        }
    ],
    "last_updated": "2026-01-01T00:00:00Z",
}
AT = {"start_date_time": "2026-03-02T08:00:00Z"}


@pytest.fixture
async def priced(world: World) -> World:
    site = {"id": "L1", "time_zone": "Europe/Berlin"}
    for id, connector in (("CP1", CONNECTOR), ("FREE", {**CONNECTOR, "tariff_ids": []})):
        evses = [{"uid": "E1", "connectors": [connector]}]
        await world.add_charge_point(id, location=site, evses=evses)
    await tariff(world, DAY)
    await tariff(world, {**DAY, "id": "ADHOC", "type": "AD_HOC_PAYMENT"})
    return world


async def tariff(world: World, body: dict[str, Any]) -> None:
    owner = PartyId(country_code="DE", party_id="DEM")
    id = tariff_document_id(owner, body["id"])
    await world.keep("chargesphere", "tariffs", id, {"tenant_id": "demo", "tariff": body})


async def quoted(world: World, **body: Any) -> Quote:
    response = await world.call("POST", "/quotes", role="viewer", body=body)
    assert response.status_code == 200, response.text
    return Quote.model_validate(response.json())


async def test_a_charge_at_a_connector_costs_its_tariff_at_the_most_power_that_it_gives(
    priced: World,
) -> None:
    """22.08 kWh at 3 x 230 V x 16 A = 11.04 kW are two hours: 0.50 + 22.08 x 0.30 + 0.5 h x 2 = 8.124 EUR."""
    quote = await quoted(priced, charge_point_id="CP1", energy_kwh=22.08, parking_minutes=30, **AT)
    assert (quote.currency, quote.tariff_ids, quote.time_zone) == ("EUR", ["DAY"], "Europe/Berlin")
    assert (quote.charging_minutes, quote.parking_minutes, quote.energy_kwh) == (120, 30, 22.08)
    assert (quote.start_date_time, quote.end_date_time) == ("2026-03-02T08:00:00Z", "2026-03-02T10:30:00Z")
    assert quote.total_cost.before_taxes == 8.124
    parts = quote.total_fixed_cost, quote.total_energy_cost, quote.total_time_cost, quote.total_parking_cost
    assert [part.before_taxes for part in parts] == [0.5, 6.624, 0, 1]
    assert len(quote.explanation) == 3 and quote.warnings == []


async def test_tariffs_are_priced_without_a_connector_and_ids_have_no_case(priced: World) -> None:
    quote = await quoted(priced, tariff_ids=["day"], energy_kwh=10, charging_minutes=60, **AT)
    assert quote.total_cost.before_taxes == 3.5


async def test_a_tariff_for_another_kind_of_charge_prices_nothing_and_that_is_said(priced: World) -> None:
    quote = await quoted(priced, tariff_ids=["ADHOC"], energy_kwh=10, power_kw=11, **AT)
    assert (quote.total_cost.before_taxes, quote.tariff_ids) == (0, [])
    assert quote.warnings[0] == "none of the tariffs is for a charge of type REGULAR"
    ad_hoc = await quoted(
        priced, tariff_ids=["ADHOC"], energy_kwh=10, power_kw=11, type="AD_HOC_PAYMENT", **AT
    )
    assert ad_hoc.total_cost.before_taxes == 3.5


async def test_without_a_tariff_it_costs_nothing_with_a_warning(priced: World) -> None:
    quote = await quoted(priced, charge_point_id="FREE", energy_kwh=10, **AT)
    assert (quote.total_cost.before_taxes, quote.warnings) == (0, ["no tariff: the cost is 0"])


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"energy_kwh": 1}, 422, "name either a charge_point_id or tariff_ids"),
        ({"charge_point_id": "CP1", "tariff_ids": ["DAY"], "energy_kwh": 1}, 422, "name either"),
        ({"tariff_ids": ["DAY"], "energy_kwh": 1}, 422, "say two of energy, power and charging time"),
        ({"charge_point_id": "CP1"}, 422, "say two of energy, power and charging time"),
        ({"charge_point_id": "CP1", "energy_kwh": -1}, 422, "greater than 0"),
        ({"tariff_ids": ["DAY"], "energy_kwh": 1, "power_kw": 1, "time_zone": "Mars"}, 422, "Mars"),
        ({"charge_point_id": "CP1", "energy_kwh": 1, "start_date_time": "9999-01-01T00:00:00Z"}, 422, "9000"),
        ({"charge_point_id": "CP1", "connector_id": 2, "energy_kwh": 1}, 404, "connector 2"),
        ({"charge_point_id": "CP9", "energy_kwh": 1}, 404, "charge point CP9"),
        ({"tariff_ids": ["NO"], "energy_kwh": 1, "power_kw": 1}, 404, "tariff NO"),
    ],
)
async def test_what_cannot_be_quoted_is_said(
    priced: World, body: dict[str, Any], status: int, says: str
) -> None:
    response = await priced.call("POST", "/quotes", role="viewer", body=body)
    assert response.status_code == status
    assert says in str(problem(response))


async def test_a_tenants_charge_points_and_tariffs_are_priced_for_nobody_else(priced: World) -> None:
    body = {"charge_point_id": "CP1", "energy_kwh": 1}
    response = await priced.call("POST", "/quotes", role="viewer", tenant="acme", body=body)
    assert response.status_code == 404
    body = {"tariff_ids": ["DAY"], "energy_kwh": 1, "power_kw": 1}
    response = await priced.call("POST", "/quotes", role="viewer", tenant="acme", body=body)
    assert response.status_code == 404
