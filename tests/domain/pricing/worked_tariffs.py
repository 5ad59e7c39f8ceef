"""The tariffs of the standard's worked examples, one line each, and a reader for such lines.

``(1) FLAT 0.5 vat 20 step 1 + ENERGY 0.25 step 1 [max_kwh 10, day_of_week SAT/SUN]; (2) …``
"""

from __future__ import annotations

from decimal import Decimal

from domain.pricing import Tariff, tariff_from_json

_DAYS = {
    day[:3]: day for day in ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
}
_INTEGERS = {"min_duration", "max_duration"}
_TEXTS = {"start_time", "end_time", "start_date", "end_date", "reservation"}


def tariff(
    elements: str,
    *,
    currency: str = "EUR",
    tax_included: str = "NO",
    id: str = "T1",
    **limits: tuple[str, str | None],
) -> Tariff:
    """A tariff from its line; limits as ``max_price=("10", "11")``, before and after taxes."""
    value: dict[str, object] = {
        "country_code": "DE",
        "party_id": "ABC",
        "id": id,
        "currency": currency,
        "tax_included": tax_included,
        "elements": [_element(text) for text in elements.split(";")],
        "last_updated": "2024-01-01T00:00:00Z",
    }
    for name, (before, after) in limits.items():
        value[name] = {"before_taxes": before} | ({} if after is None else {"after_taxes": after})
    return tariff_from_json(value)


def _element(text: str) -> dict[str, object]:
    components, _, brackets = text.strip().partition("[")
    element: dict[str, object] = {
        "price_components": [_component(part) for part in components.partition(")")[2].split("+")]
    }
    if brackets:
        pairs = (pair.split() for pair in brackets.rstrip("] ").split(","))
        element["restrictions"] = {name: _restriction(name, value) for name, value in pairs}
    return element


def _component(text: str) -> dict[str, object]:
    words = text.split()
    component: dict[str, object] = {"type": words[0], "price": Decimal(words[1])}
    named = dict(zip(words[2::2], words[3::2], strict=True))
    if "vat" in named:
        component["vat"] = Decimal(named["vat"])
    component["step_size"] = int(named["step"])
    return component


def _restriction(name: str, value: str) -> object:
    if name == "day_of_week":
        return [_DAYS[day] for day in value.split("/")]
    if name in _TEXTS:
        return value
    return int(value) if name in _INTEGERS else Decimal(value)


START_ENERGY = "FLAT 0.5 vat 20 step 1 + ENERGY 0.25 vat 10 step 1"
TARIFF_1 = tariff("(1) TIME 2 vat 10 step 60")
TARIFF_2 = tariff("(1) TIME 1.9 vat 5.2 step 300")
TARIFF_3 = tariff("(1) FLAT 0.5 vat 20 step 1 + ENERGY 0.25 vat 10 step 100")
TARIFF_4 = tariff(
    "(1) FLAT 2.5 vat 15 step 1; (2) TIME 1 vat 20 step 900 [max_current 32.0];"
    "(3) TIME 2 vat 20 step 600 [min_current 32.0, day_of_week MON/TUE/WED/THU/FRI];"
    "(4) TIME 1.25 vat 20 step 600 [min_current 32.0, day_of_week SAT/SUN];"
    "(5) PARKING_TIME 5 vat 10 step 300 "
    "[start_time 09:00, end_time 18:00, day_of_week MON/TUE/WED/THU/FRI];"
    "(6) PARKING_TIME 6 vat 10 step 300 [start_time 10:00, end_time 17:00, day_of_week SAT]"
)
TARIFF_5 = tariff("(1) FLAT 0 step 0")
TARIFF_6 = tariff(f"(1) {START_ENERGY}", max_price=("10", "11"))
TARIFF_8 = tariff("(1) ENERGY 0.25 vat 10 step 1")
TARIFF_9 = tariff(f"(1) {START_ENERGY}")
TARIFF_10 = tariff(f"(1) {START_ENERGY} + PARKING_TIME 2 vat 20 step 900")
TARIFF_11 = tariff("(1) FLAT 0.4 vat 25 step 1 + TIME 1.9 vat 5.2 step 300")
TARIFF_12 = tariff("(1) ENERGY 0.25 vat 10 step 1", min_price=("0.5", "0.55"))
TARIFF_13 = tariff("(1) TIME 3 vat 10 step 60 + PARKING_TIME 5 vat 20 step 300")
TARIFF_14 = tariff(
    "(1) TIME 1.2 step 1800 + PARKING_TIME 1 step 900 [start_time 00:00, end_time 17:00];"
    "(2) TIME 2.4 step 900 + PARKING_TIME 1 step 900 [start_time 17:00, end_time 20:00];"
    "(3) TIME 2.4 step 900 [start_time 20:00, end_time 00:00]"
)
TARIFF_15 = tariff(f"(1) TIME 5 vat 20 step 60 [reservation RESERVATION]; (2) {START_ENERGY}")
TARIFF_16 = tariff(
    f"(1) FLAT 2 vat 20 step 1 + TIME 5 vat 20 step 300 [reservation RESERVATION]; (2) {START_ENERGY}"
)
TARIFF_17 = tariff(
    "(1) FLAT 4 vat 20 step 1 [reservation RESERVATION_EXPIRES];"
    f"(2) TIME 2 vat 20 step 600 [reservation RESERVATION]; (3) {START_ENERGY}"
)
TARIFF_18 = tariff(
    "(1) TIME 6 vat 20 step 600 [reservation RESERVATION_EXPIRES];"
    f"(2) TIME 3 vat 20 step 600 [reservation RESERVATION]; (3) {START_ENERGY}"
)
TARIFF_19 = tariff("(1) TIME 2 step 1", currency="CAD")
TARIFF_20 = tariff("(1) TIME 2.1 step 1", currency="CAD", tax_included="YES")
MAX_DURATION = tariff(
    "(1) ENERGY 0 vat 20 step 1 [max_duration 1800]; (2) ENERGY 0.25 vat 20 step 1 [max_duration 3600];"
    "(3) ENERGY 0.4 vat 20 step 1"
)
MAX_POWER = tariff(
    "(1) ENERGY 0.2 vat 20 step 1 [max_power 16.0]; (2) ENERGY 0.35 vat 20 step 1 [max_power 32.0];"
    "(3) ENERGY 0.5 vat 20 step 1"
)
