"""`/quotes`: what a charge would cost, before it begins, by the same pricing that its CDR will have."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from api.problems import ProblemRoute, invalid, not_found
from api.v1.caller import Caller, Viewer
from api.v1.lists import answer
from api.v1.present import charge_point_of, evse_of, named_tariffs, site_of, tariffs_of
from domain.pricing import Amount, Cost, Plan, PricingError, explain, fitting, planned_usage, price, to_json
from domain.pricing import tariff_from_json as read_tariff
from domain.values import Connector, JSONObject, plain_json

routes = APIRouter(route_class=ProblemRoute, tags=["quotes"])

Energy = Annotated[Decimal, Field(gt=0, le=100_000, decimal_places=3)]
Power = Annotated[Decimal, Field(gt=0, le=10_000, decimal_places=3)]
Minutes = Annotated[Decimal, Field(ge=0, le=43_200, decimal_places=2)]


class QuoteRequest(BaseModel):
    """A connector of ours, or tariffs of ours, and what would be charged.

    Of energy, power and charging time two say the third; at a connector the power may be left out beside the energy
    and is then the most that it gives.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"charge_point_id": "CP1", "connector_id": 1, "energy_kwh": 20, "parking_minutes": 30},
                {
                    "tariff_ids": ["DAY"],
                    "time_zone": "Europe/Berlin",
                    "start_date_time": "2026-03-02T08:00:00Z",
                    "energy_kwh": 20,
                    "power_kw": 11,
                },
            ]
        },
    )

    charge_point_id: str | None = Field(default=None, max_length=128)
    connector_id: int = Field(default=1, ge=1, le=1000, description="OCPP's number")
    tariff_ids: list[str] | None = Field(default=None, min_length=1, max_length=20)
    time_zone: str | None = Field(
        default=None, max_length=64, description="by which tariffs hold; the site's"
    )
    type: Literal["REGULAR", "AD_HOC_PAYMENT", "PROFILE_CHEAP", "PROFILE_FAST", "PROFILE_GREEN"] = Field(
        default="REGULAR", description="OCPI's TariffType"
    )
    start_date_time: AwareDatetime | None = Field(default=None, description="now where it is left out")
    energy_kwh: Energy | None = None
    power_kw: Power | None = None
    charging_minutes: Annotated[Minutes, Field(gt=0)] | None = None
    parking_minutes: Minutes = Decimal(0)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.charge_point_id is None) == (self.tariff_ids is None):
            raise ValueError("name either a charge_point_id or tariff_ids")
        return self


class Tax(BaseModel):
    """OCPI's TaxAmount."""

    name: str
    amount: float
    account_number: str | None = None
    percentage: float | None = None


class Price(BaseModel):
    """OCPI's Price; without `taxes` they are not known."""

    before_taxes: float
    taxes: list[Tax] | None = None


class Quote(BaseModel):
    """The cost, its parts and why. Parts are as consumed; the total is within the tariff's limits."""

    currency: str | None = Field(examples=["EUR"])
    tariff_ids: list[str] = Field(description="that can price it")
    time_zone: str
    start_date_time: str
    end_date_time: str
    energy_kwh: float
    charging_minutes: float
    parking_minutes: float
    total_cost: Price
    total_fixed_cost: Price
    total_energy_cost: Price
    total_time_cost: Price
    total_parking_cost: Price
    limited_by: list[str] = Field(description="`min_price` or `max_price`")
    explanation: list[str] = Field(examples=[["10:00–11:48 ENERGY 0.30/kWh, 20 kWh = 6.00 EUR"]])
    warnings: list[str]


@routes.post("/quotes", response_model=Quote)
async def quote(body: QuoteRequest, caller: Viewer) -> Response:
    """What it would cost if it went as said, the power the same all the time. Nothing is kept or promised."""
    connector, tariffs, time_zone = await _place(caller, body)
    power = body.power_kw
    if power is None and body.charging_minutes is None and connector is not None:
        power = Decimal(connector.max_power) / 1000
    plan = Plan(
        start=body.start_date_time or caller.services.clock(),
        energy_wh=None if body.energy_kwh is None else body.energy_kwh * 1000,
        power_w=None if power is None else power * 1000,
        charging=None if body.charging_minutes is None else _minutes(body.charging_minutes),
        parking=_minutes(body.parking_minutes),
        voltage=None if connector is None else connector.max_voltage,
    )
    try:
        fit = fitting([read_tariff(one) for one in tariffs], body.type)
        cost = price(planned_usage(plan), fit, time_zone, currency=caller.settings.currency)
    except PricingError as error:
        raise invalid("body", "body", str(error)) from None
    warnings = list(cost.warnings)
    if tariffs and not fit:
        warnings.insert(0, f"none of the tariffs is for a charge of type {body.type}")
    return answer(_shown(cost, [tariff.id for tariff in reversed(fit)], warnings))


async def _place(caller: Caller, body: QuoteRequest) -> tuple[Connector | None, tuple[JSONObject, ...], str]:
    """The connector, its tariffs, and the time zone by which they hold."""
    zone = body.time_zone or caller.settings.time_zone
    if body.tariff_ids is not None:
        tariffs = await named_tariffs(caller, body.tariff_ids)
        known = {str(tariff["id"]).lower() for tariff in tariffs}
        if missing := next((id for id in body.tariff_ids if id.lower() not in known), None):
            raise not_found(f"tariff {missing}")
        return None, tariffs, zone
    charge_point = await charge_point_of(caller, str(body.charge_point_id))
    if charge_point is None:
        raise not_found(f"charge point {body.charge_point_id}")
    evse = evse_of(charge_point, body.connector_id)
    if evse is None:
        raise not_found(f"connector {body.connector_id} of charge point {body.charge_point_id}")
    tariffs = await tariffs_of(caller, evse)
    return (
        evse.connectors[0],
        tariffs,
        body.time_zone or (await site_of(caller, charge_point)).time_zone or zone,
    )


def _minutes(value: Decimal) -> timedelta:
    return timedelta(seconds=round(value * 60))


def _shown(cost: Cost, tariff_ids: list[str], warnings: list[str]) -> dict[str, Any]:
    energy = sum((period.energy_wh for period in cost.periods), Decimal(0))
    charging = sum((period.charging_s for period in cost.periods), Decimal(0))
    parking = sum((period.parking_s for period in cost.periods), Decimal(0))
    moments = to_json(cost)["periods"]
    assert isinstance(moments, list)
    return {
        "currency": cost.currency,
        "tariff_ids": tariff_ids,
        "time_zone": cost.time_zone,
        "start_date_time": moments[0]["start"],
        "end_date_time": moments[-1]["end"],
        "energy_kwh": float(round(energy / 1000, 6)),
        "charging_minutes": float(round(charging / 60, 2)),
        "parking_minutes": float(round(parking / 60, 2)),
        "total_cost": _price(cost.total),
        "total_fixed_cost": _price(cost.fixed),
        "total_energy_cost": _price(cost.energy),
        "total_time_cost": _price(cost.time),
        "total_parking_cost": _price(cost.parking),
        "limited_by": list(cost.limited_by),
        "explanation": list(explain(cost)),
        "warnings": warnings,
    }


def _price(amount: Amount) -> JSONObject:
    price: JSONObject = plain_json(to_json(amount.as_price()))
    return price
