"""The bridge 2.2.1 ⇄ 2.3.0 by chapter 7 of the facts: what becomes what, what is lost, and that it is said."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings

from protocols.ocpi import dump_json, parse_json, v2_2_1, v2_3_0
from protocols.ocpi.bridging import Bridged, downgrade, upgrade
from protocols.ocpi.types import JSON, OcpiModel
from tests.laws import tried
from tests.protocols.ocpi.bodies import bodies, same

D = Decimal
THEN = "2026-05-31T12:00:00Z"


def up(module: str, model: type[OcpiModel], body: JSON) -> tuple[JSON, list[str]]:
    """(JSON in 2.3.0, paths lost) of a body of 2.2.1."""
    return shown(upgrade(module, parse_json(model, body)))


def down(module: str, model: type[OcpiModel], body: JSON) -> tuple[JSON, list[str]]:
    """(JSON in 2.2.1, paths lost) of a body of 2.3.0."""
    return shown(downgrade(module, parse_json(model, body)))


def shown(bridged: Bridged) -> tuple[JSON, list[str]]:
    """(JSON, paths lost)."""
    value = None if bridged.value is None else dump_json(bridged.value)
    return value, [loss.path for loss in bridged.lost]


# --- Price


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"excl_vat": D("2.00")}, {"before_taxes": D(2)}),
        (
            {"excl_vat": D("2.00"), "incl_vat": D("2.20")},
            {"before_taxes": D(2), "taxes": [{"name": "VAT", "amount": D("0.2")}]},
        ),
        ({"excl_vat": D(2), "incl_vat": D(2)}, {"before_taxes": D(2), "taxes": []}),
        (
            {"excl_vat": D(-2), "incl_vat": D("-2.2")},
            {"before_taxes": D(-2), "taxes": [{"name": "VAT", "amount": D("-0.2")}]},
        ),
        ({"excl_vat": D(2), "vendor": [1]}, {"before_taxes": D(2), "vendor": [1]}),
    ],
)
def test_a_price_is_the_same_both_ways(older: JSON, newer: JSON) -> None:
    assert same(up("common", v2_2_1.Price, older)[0], newer)
    assert same(down("common", v2_3_0.Price, newer)[0], older)
    assert up("common", v2_2_1.Price, older)[1] == down("common", v2_3_0.Price, newer)[1] == []


def test_several_taxes_become_one_sum_and_their_names_are_said_to_be_lost() -> None:
    taxes: JSON = [
        {"name": "GST", "amount": D("0.10")},
        {"name": "PST", "amount": D("0.20"), "percentage": 7},
    ]
    value, lost = down("common", v2_3_0.Price, {"before_taxes": D(2), "taxes": taxes})
    assert same(value, {"excl_vat": D(2), "incl_vat": D("2.30")})
    assert lost == ["taxes"]


def test_a_price_is_added_exactly_whatever_the_number_of_digits() -> None:
    price: JSON = {
        "before_taxes": D("1234567890123.4567"),
        "taxes": [{"name": "VAT", "amount": D("0." + "0" * 38 + "1")}],
    }
    value, _ = down("common", v2_3_0.Price, price)
    assert same(
        value, {"excl_vat": D("1234567890123.4567"), "incl_vat": D("1234567890123.4567" + "0" * 34 + "1")}
    )


# --- Tariff


def tariff(**fields: JSON) -> dict[str, JSON]:
    """A tariff of one element with one price per kWh, in either version."""
    price: dict[str, JSON] = {"type": "ENERGY", "price": D("0.25"), "step_size": 1}
    return {
        "country_code": "DE",
        "party_id": "ALL",
        "id": "12",
        "currency": "EUR",
        "elements": [{"price_components": [price]}],
        "last_updated": THEN,
        **fields,
    }


def priced(price: str, vat: str | None = None) -> JSON:
    """Elements of one price component."""
    component: dict[str, JSON] = {"type": "ENERGY", "price": D(price), "step_size": 1}
    return [{"price_components": [component | ({"vat": D(vat)} if vat else {})]}]


def test_a_tariff_of_2_2_1_excludes_tax() -> None:
    older = tariff(min_price={"excl_vat": D("0.5"), "incl_vat": D("0.55")}, max_price={"excl_vat": D(9)})
    newer = tariff(
        min_price={"before_taxes": D("0.5"), "after_taxes": D("0.55")},
        max_price={"before_taxes": D(9)},
        tax_included="NO",
    )
    assert up("tariffs", v2_2_1.Tariff, older) == (newer, [])
    assert down("tariffs", v2_3_0.Tariff, newer) == (older, [])


def test_a_price_with_tax_loses_it_exactly_where_the_rate_divides_it() -> None:
    newer = tariff(elements=priced("1.19", "19"), tax_included="YES")
    assert down("tariffs", v2_3_0.Tariff, newer) == (tariff(elements=priced("1", "19")), [])


def test_a_price_that_has_no_exact_amount_without_tax_is_rounded_and_said_so() -> None:
    newer = tariff(elements=priced("0.25", "19"), tax_included="YES")
    value, lost = down("tariffs", v2_3_0.Tariff, newer)
    assert value == tariff(elements=priced("0.2101", "19"))
    assert lost == ["elements[0].price_components[0].price"]


def test_a_gross_price_with_any_usual_rate_finds_its_place_with_at_most_four_decimals() -> None:
    """0.30 with 21 % in it is 0.2479 without; what does not come back to the cent fraction is said to be lossy."""
    assert down("tariffs", v2_3_0.Tariff, tariff(elements=priced("0.30", "21"), tax_included="YES")) == (
        tariff(elements=priced("0.2479", "21")),
        ["elements[0].price_components[0].price"],
    )
    rates = (
        "2.6",
        "5.2",
        "7",
        "7.7",
        "8.1",
        "9",
        "10",
        "17",
        "19",
        "20",
        "21",
        "22",
        "23",
        "24",
        "25.5",
        "27",
    )
    for rate in rates:
        for cents in range(1, 301):
            gross = D(cents) / 100
            newer = tariff(elements=priced(str(gross), rate), tax_included="YES")
            bridged = downgrade("tariffs", parse_json(v2_3_0.Tariff, newer))
            assert isinstance(bridged.value, v2_2_1.Tariff), (gross, rate, bridged.lost)
            net = bridged.value.elements[0].price_components[0].price
            again = net * (1 + D(rate) / 100)
            assert int(net.as_tuple().exponent) >= -4 and abs(again - gross) <= D("0.00005") * D("1.27")
            assert [loss.path for loss in bridged.lost] == (
                [] if again == gross else ["elements[0].price_components[0].price"]
            )


def test_a_price_with_tax_of_unknown_rate_passes_and_is_said_so() -> None:
    value, lost = down("tariffs", v2_3_0.Tariff, tariff(tax_included="YES"))
    assert value == tariff()
    assert lost == ["elements[0].price_components[0].price"]


def test_where_no_tax_applies_the_rate_is_dropped() -> None:
    newer = tariff(elements=priced("0.25", "19"), tax_included="N/A")
    value, lost = down("tariffs", v2_3_0.Tariff, newer)
    assert value == tariff()
    assert lost == ["elements[0].price_components[0].vat"]


def test_what_payments_adds_to_a_tariff_is_lost() -> None:
    value, lost = down("tariffs", v2_3_0.Tariff, tariff(tax_included="NO", preauthorize_amount=D(50)))
    assert (value, lost) == (tariff(), ["preauthorize_amount"])


def test_a_price_for_bookings_must_not_become_a_price_for_every_charge() -> None:
    component: JSON = {"type": "FLAT", "price": D(5), "step_size": 1}
    booking: JSON = {"price_components": [component], "restrictions": {"booking": "BOOKING"}}
    usual = tariff()["elements"]
    assert isinstance(usual, list)
    value, lost = down("tariffs", v2_3_0.Tariff, tariff(tax_included="NO", elements=[booking, *usual]))
    assert (value, lost) == (tariff(), ["elements[0]"])

    value, lost = down("tariffs", v2_3_0.Tariff, tariff(tax_included="NO", elements=[booking]))
    assert value is None
    assert lost == ["elements[0]", ""]


# --- Location, EVSE, Connector


def connector(**fields: JSON) -> dict[str, JSON]:
    """A connector in either version."""
    return {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 16,
        "last_updated": THEN,
        **fields,
    }


def location(evse: dict[str, JSON], **fields: JSON) -> dict[str, JSON]:
    """A location of one EVSE in either version."""
    return {
        "country_code": "DE",
        "party_id": "ALL",
        "id": "L1",
        "publish": True,
        "address": "Street 1",
        "city": "Ulm",
        "country": "DEU",
        "coordinates": {"latitude": "48.401082", "longitude": "9.987608"},
        "time_zone": "Europe/Berlin",
        "evses": [evse],
        "last_updated": THEN,
        **fields,
    }


def evse(**fields: JSON) -> dict[str, JSON]:
    """An EVSE of one connector in either version."""
    return {"uid": "E1", "status": "AVAILABLE", "connectors": [connector()], "last_updated": THEN, **fields}


def test_what_2_3_0_added_to_a_location_is_dropped_and_said_so() -> None:
    place: JSON = {
        "id": "P1",
        "vehicle_types": ["PERSONAL_VEHICLE"],
        "restricted_to_type": False,
        "reservation_required": False,
    }
    newer = location(
        evse(
            parking=[{"parking_id": "P1"}],
            accepted_service_providers=["TNM"],
            connectors=[connector(capabilities=["ISO_15118_2_PLUG_AND_CHARGE"])],
        ),
        parking_places=[place],
        help_phone="+49 731 1",
    )
    value, lost = down("locations", v2_3_0.Location, newer)
    assert value == location(evse())
    assert sorted(lost) == [
        "evses[0].accepted_service_providers",
        "evses[0].connectors[0].capabilities",
        "evses[0].parking",
        "help_phone",
        "parking_places",
    ]
    assert up("locations", v2_2_1.Location, location(evse())) == (location(evse()), [])


def test_an_empty_list_is_no_loss() -> None:
    assert down("locations", v2_3_0.EVSE, evse(parking=[])) == (evse(), [])


@pytest.mark.parametrize(
    ("standard", "flagged"), [("MCS", 1), ("SAE_J3400", 1), ("OWN_PLUG", 1), ("CHADEMO", 0)]
)
def test_a_value_that_2_2_1_does_not_define_passes_flagged(standard: str, flagged: int) -> None:
    bridged = downgrade("locations", parse_json(v2_3_0.Connector, connector(standard=standard)))
    assert bridged.value is not None
    assert dump_json(bridged.value)["standard"] == standard
    assert [flag.path for flag in bridged.flagged] == ["standard"] * flagged
    assert bridged.lost == ()


def test_values_in_lists_are_flagged_by_their_place() -> None:
    newer = evse(parking_restrictions=["EV_ONLY", "EMPLOYEES", "TAXIS", "TENANTS"])
    bridged = downgrade("locations", parse_json(v2_3_0.EVSE, newer))
    assert [flag.path for flag in bridged.flagged] == [f"parking_restrictions[{i}]" for i in (1, 2, 3)]


def test_an_unknown_field_with_the_name_of_a_newer_one_is_kept_where_it_fits_and_else_said_to_be_lost() -> (
    None
):
    assert up("locations", v2_2_1.EVSE, evse(parking=[{"parking_id": "P1"}])) == (
        evse(parking=[{"parking_id": "P1"}]),
        [],
    )
    assert up("locations", v2_2_1.Location, location(evse(parking="yes"), help_phone="1")) == (
        location(evse(), help_phone="1"),
        ["evses[0].parking"],
    )
    assert up("common", v2_2_1.Price, {"excl_vat": D(1), "before_taxes": "x"}) == (
        {"before_taxes": D(1)},
        ["before_taxes"],
    )


# --- Token


def token(kind: str) -> dict[str, JSON]:
    """A token in either version."""
    return {
        "country_code": "DE",
        "party_id": "TNM",
        "uid": "U1",
        "type": kind,
        "contract_id": "C1",
        "issuer": "TheNewMotion",
        "valid": True,
        "whitelist": "ALWAYS",
        "last_updated": THEN,
    }


def test_an_emaid_becomes_other() -> None:
    assert down("tokens", v2_3_0.Token, token("EMAID")) == (token("OTHER"), ["type"])
    assert up("tokens", v2_2_1.Token, token("OTHER")) == (token("OTHER"), [])


def test_an_emaid_becomes_other_inside_a_command_too() -> None:
    start: dict[str, JSON] = {"response_url": "https://x.example", "location_id": "L1"}
    newer = start | {"token": token("EMAID")}
    assert down("commands", v2_3_0.StartSession, newer) == (start | {"token": token("OTHER")}, ["token.type"])


# --- Session and CDR


def session(cost: JSON, kind: str = "RFID") -> dict[str, JSON]:
    """A session in either version."""
    return {
        "country_code": "NL",
        "party_id": "STK",
        "id": "101",
        "start_date_time": THEN,
        "kwh": D("15.342"),
        "cdr_token": {
            "country_code": "NL",
            "party_id": "TST",
            "uid": "123abc",
            "type": kind,
            "contract_id": "NL-TST-C12345678-S",
        },
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "3256",
        "connector_id": "1",
        "currency": "EUR",
        "total_cost": cost,
        "status": "COMPLETED",
        "last_updated": THEN,
    }


def test_the_cost_of_a_session_is_carried_over() -> None:
    older = session({"excl_vat": D("8.50"), "incl_vat": D("9.35")})
    newer = session({"before_taxes": D("8.5"), "taxes": [{"name": "VAT", "amount": D("0.85")}]})
    assert up("sessions", v2_2_1.Session, older) == (newer, [])
    assert down("sessions", v2_3_0.Session, newer) == (older, [])
    emaid = session({"before_taxes": D("8.5")}, kind="EMAID")
    assert down("sessions", v2_3_0.Session, emaid)[1] == ["cdr_token.type"]


def cdr(cost: JSON, periods: list[JSON], **fields: JSON) -> dict[str, JSON]:
    """A CDR in either version."""
    return {
        "country_code": "NL",
        "party_id": "STK",
        "id": "12345",
        "start_date_time": THEN,
        "end_date_time": THEN,
        "cdr_token": session(cost)["cdr_token"],
        "auth_method": "WHITELIST",
        "cdr_location": {
            "id": "LOC1",
            "address": "F.Rooseveltlaan 3A",
            "city": "Gent",
            "country": "BEL",
            "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
            "evse_uid": "3256",
            "evse_id": "BE*BEC*E041503003",
            "connector_id": "1",
            "connector_standard": "IEC_62196_T2",
            "connector_format": "SOCKET",
            "connector_power_type": "AC_1_PHASE",
        },
        "currency": "EUR",
        "charging_periods": periods,
        "total_cost": cost,
        "total_energy": D(15),
        "total_time": D("1.973"),
        "last_updated": THEN,
        **fields,
    }


ENERGY: JSON = {"type": "ENERGY", "volume": D(15)}
OVERTIME: JSON = {"type": "RESERVATION_OVERTIME", "volume": D(1)}


def test_a_cdr_is_carried_over_with_its_tariffs() -> None:
    periods: list[JSON] = [{"start_date_time": THEN, "dimensions": [ENERGY]}]
    older = cdr({"excl_vat": D(4)}, periods, tariffs=[tariff()], total_time_cost={"excl_vat": D(4)})
    newer = cdr(
        {"before_taxes": D(4)},
        periods,
        tariffs=[tariff(tax_included="NO")],
        total_time_cost={"before_taxes": D(4)},
    )
    assert up("cdrs", v2_2_1.CDR, older) == (newer, [])
    assert down("cdrs", v2_3_0.CDR, newer) == (older, [])


def test_a_cdr_keeps_its_tariff_with_prices_that_have_taxes_in_them() -> None:
    periods: list[JSON] = [{"start_date_time": THEN, "dimensions": [ENERGY]}]
    gross = tariff(elements=priced("0.30", "21"), tax_included="YES")
    value, lost = down("cdrs", v2_3_0.CDR, cdr({"before_taxes": D(4)}, periods, tariffs=[gross]))
    assert value == cdr({"excl_vat": D(4)}, periods, tariffs=[tariff(elements=priced("0.2479", "21"))])
    assert lost == ["tariffs[0].elements[0].price_components[0].price"]


def test_what_bookings_adds_to_a_cdr_is_lost_and_said_so() -> None:
    periods: list[JSON] = [
        {"start_date_time": THEN, "dimensions": [ENERGY, OVERTIME]},
        {"start_date_time": THEN, "dimensions": [OVERTIME]},
    ]
    value, lost = down("cdrs", v2_3_0.CDR, cdr({"before_taxes": D(4)}, periods, booking_id="B1"))
    assert value == cdr({"excl_vat": D(4)}, [{"start_date_time": THEN, "dimensions": [ENERGY]}])
    assert sorted(lost) == [
        "booking_id",
        "charging_periods[0].dimensions[1]",
        "charging_periods[1]",
        "charging_periods[1].dimensions[0]",
    ]


def test_a_cdr_of_which_nothing_required_is_left_has_no_place() -> None:
    periods: list[JSON] = [{"start_date_time": THEN, "dimensions": [OVERTIME]}]
    bridged = downgrade("cdrs", parse_json(v2_3_0.CDR, cdr({"before_taxes": D(4)}, periods)))
    assert bridged.value is None
    assert bridged.lost[-1].path == ""
    assert "RESERVATION_OVERTIME" in bridged.lost[-1].why


# --- Credentials and ClientInfo


def party(role: str, party_id: str, country: str = "DE") -> dict[str, JSON]:
    """A role in either version."""
    return {
        "role": role,
        "party_id": party_id,
        "country_code": country,
        "business_details": {"name": f"{party_id} GmbH"},
    }


def credentials(*roles: JSON, **fields: JSON) -> dict[str, JSON]:
    """Credentials in either version."""
    return {"token": "abc", "url": "https://hub.example/ocpi/versions", "roles": list(roles), **fields}


def test_a_hub_is_a_role_in_2_2_1_and_a_party_id_in_2_3_0() -> None:
    older = credentials(party("HUB", "HUB"))
    newer = credentials(party("OTHER", "HUB"), hub_party_id="DEHUB")
    assert up("credentials", v2_2_1.Credentials, older) == (newer, [])
    assert down("credentials", v2_3_0.Credentials, newer) == (older, [])


def test_the_parties_behind_a_hub_are_not_listed_in_2_2_1() -> None:
    newer = credentials(party("CPO", "ABC"), party("EMSP", "XYZ"), hub_party_id="DEHUB")
    value, lost = down("credentials", v2_3_0.Credentials, newer)
    hub = party("HUB", "HUB") | {"business_details": {"name": "DEHUB"}}
    assert value == credentials(hub)
    assert lost == ["roles[0]", "roles[1]"]


def test_the_parts_of_a_hub_party_id_are_those_of_its_role_where_it_has_one() -> None:
    older = credentials(party("HUB", "hUb", "d"))
    newer, lost = up("credentials", v2_2_1.Credentials, older)
    assert (newer, lost) == (credentials(party("OTHER", "hUb", "d"), hub_party_id="dhUb"), [])
    assert down("credentials", v2_3_0.Credentials, newer) == (older, [])


def test_roles_without_a_hub_are_the_same() -> None:
    both = credentials(party("CPO", "ABC"), party("EMSP", "ABC"))
    assert up("credentials", v2_2_1.Credentials, both) == (both, [])
    assert down("credentials", v2_3_0.Credentials, both) == (both, [])


def test_a_hub_among_the_clients_of_2_3_0_is_other_and_said_so() -> None:
    info: dict[str, JSON] = {
        "party_id": "HUB",
        "country_code": "DE",
        "role": "HUB",
        "status": "CONNECTED",
        "last_updated": THEN,
    }
    assert up("hubclientinfo", v2_2_1.ClientInfo, info) == (info | {"role": "OTHER"}, ["role"])


# --- modules, and what is no object of them


@pytest.mark.parametrize(
    ("module", "model", "body"),
    [
        ("payments", v2_3_0.Terminal, {"terminal_id": "T1", "last_updated": THEN}),
        (
            "invoicereconciliation",
            v2_3_0.InvoiceReconciliationRecord,
            {
                "country_code": "DE",
                "party_id": "ABC",
                "id": "1",
                "invoice_id": "2",
                "cdrs": ["3"],
                "last_updated": THEN,
            },
        ),
        ("bookings", v2_3_0.Period, {"start_date_time": THEN, "end_date_time": THEN}),
    ],
)
def test_a_module_that_2_2_1_has_not_has_no_place_there(
    module: str, model: type[OcpiModel], body: dict[str, JSON]
) -> None:
    bridged = downgrade(module, parse_json(model, body))
    assert bridged.value is None
    assert [(loss.path, loss.value) for loss in bridged.lost] == [("", body)]
    assert module in bridged.lost[0].why


def test_an_object_of_another_module_or_version_is_a_fault_of_the_caller() -> None:
    price = parse_json(v2_2_1.Price, {"excl_vat": 1})
    with pytest.raises(ValueError, match=r"v2_2_1\.common\.Price"):
        downgrade("common", price)
    there = parse_json(v2_3_0.LocationReferences, {"location_id": "L"})
    with pytest.raises(ValueError, match=r"locations 2\.2\.1"):
        upgrade("locations", there)


# --- the laws

OLDER = [(module, model) for module, models in v2_2_1.MODULES.items() for model in models]
NEWER = [(module, model) for module, models in v2_3_0.MODULES.items() for model in models]
LAWS = settings(
    deadline=None,
    max_examples=tried(12),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@pytest.mark.parametrize(("module", "model"), OLDER, ids=lambda p: getattr(p, "__name__", p))
def test_there_and_back_is_equal_where_nothing_is_lost(module: str, model: type[OcpiModel]) -> None:
    @LAWS
    @given(bodies(model))
    def law(body: dict[str, JSON]) -> None:
        there = upgrade(module, parse_json(model, body))
        if there.value is None or there.lost:
            assert there.lost
            return
        back = downgrade(module, there.value)
        if back.lost:
            return
        assert back.value is not None
        assert same(without_null_vat(dump_json(back.value)), without_null_vat(body))

    law()


@pytest.mark.parametrize(("module", "model"), NEWER, ids=lambda p: getattr(p, "__name__", p))
def test_every_object_of_2_3_0_goes_down_with_every_difference_said(
    module: str, model: type[OcpiModel]
) -> None:
    @LAWS
    @given(bodies(model))
    def law(body: dict[str, JSON]) -> None:
        there = downgrade(module, parse_json(model, body))
        if there.value is None:
            assert there.lost
        elif not there.lost:
            back = upgrade(module, there.value)
            assert back.value is not None
            assert not differing(body, dump_json(back.value))

    law()


def without_null_vat(body: JSON) -> JSON:
    """The body without `incl_vat: null`, which says the same as none."""
    if isinstance(body, dict):
        return {k: without_null_vat(v) for k, v in body.items() if not (k == "incl_vat" and v is None)}
    return [without_null_vat(item) for item in body] if isinstance(body, list) else body


def differing(before: JSON, after: JSON) -> bool:
    """Whether two bodies of 2.3.0 differ in more than fields that say nothing (null, [] and absent) and in the
    spelling of a price with a known tax rate."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = {k for k in before.keys() | after.keys() if not said_otherwise(k, before, after)}
        return any(differing(before.get(k), after.get(k)) for k in keys)
    if isinstance(before, list) and isinstance(after, list):
        return len(before) != len(after) or any(map(differing, before, after))
    return not same(before, after) and not (before in (None, []) and after in (None, []))


def said_otherwise(key: str, before: dict[str, JSON], after: dict[str, JSON]) -> bool:
    """A tariff that included tax excludes it afterwards; a tax of nothing is no tax; a hub is listed as OTHER."""
    if key in ("tax_included", "price", "taxes"):
        return True
    return "hub_party_id" in after and key in ("hub_party_id", "roles")
