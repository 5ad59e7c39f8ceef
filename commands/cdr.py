"""A session's CDR: what a charge came to enters, the CDR leaves, or what stands in its way.

It is mapped here alone, and checked by the types of OCPI 2.3.0 (chapter CDRs, class CDR) before it becomes a fact.
The token stays sealed beside it: its place is checked with another's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from domain.pricing import Cost, Tariff, explain
from domain.pricing import to_json as pricing_json
from domain.pricing.cdr import cdr_of
from domain.session import Obstacle, SessionState
from domain.tenant import COUNTRY, CURRENCY, PARTY
from domain.values import JSONObject, Site, plain_json
from protocols.ocpi import NotJsonError, OcpiInvalidError, parse, v2_3_0
from protocols.ocpi.types import show
from protocols.ocpi.v2_3_0.cdrs import NOT_AVAILABLE

_TOKEN: Final = {
    "country_code": "DE",
    "party_id": "ABC",
    "uid": "0",
    "type": "RFID",
    "contract_id": "0",
}
_REMARK: Final = 255
_TOO_FEW_DECIMALS: Final = re.compile(r"-?[0-9]{1,3}(\.[0-9]{0,4})?")
_DECIMALS: Final = 5
_STEP: Final = re.compile(r"\w+|\[\d+\]")
_REASON: Final = 200


class Priced(NamedTuple):
    """A cost as the CDR and the session write it: OCPI's numbers and its total, the tariffs that priced, and what is
    said about it."""

    numbers: JSONObject
    total: JSONObject
    used: frozenset[str]
    warnings: tuple[str, ...]
    explanation: tuple[str, ...]


def priced(cost: Cost, tariffs: Sequence[Tariff]) -> Priced | Obstacle:
    """The cost in numbers that JSON holds; an obstacle by the name of the first one that it does not."""
    numbers = cdr_of(cost, tariffs)
    written: JSONObject = {}
    for name, value in pricing_json(msgspec.structs.replace(numbers, tariffs=None)).items():
        try:
            written[name] = plain_json(value)
        except ValueError as error:
            return Obstacle(field=name, reason=one_line(str(error)))
    return Priced(
        written,
        plain_json(pricing_json(cost.total.as_price())),
        frozenset(tariff.id for tariff in numbers.tariffs or ()),
        numbers.warnings,
        explain(cost),
    )


def cdr_json(
    state: SessionState, session_id: str, id: str, cost: Priced, warnings: Sequence[str], at: datetime
) -> JSONObject:
    """An OCPI 2.3.0 CDR without its `cdr_token`."""
    site, authorization, settings = state.site, state.authorization, state.settings
    assert site is not None and authorization is not None and settings is not None
    cdr: JSONObject = {
        **cost.numbers,
        "country_code": settings.party.country_code,
        "party_id": settings.party.party_id,
        "id": id,
        "session_id": session_id,
        "auth_method": authorization.auth_method or "WHITELIST",
        "cdr_location": _location(state, site),
        "last_updated": at.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z",
    }
    if cost.used:
        cdr["tariffs"] = [value for value in state.tariffs if value.get("id") in cost.used]
    if authorization.authorization_reference:
        cdr["authorization_reference"] = authorization.authorization_reference
    cdr.pop("remark", None)
    if warnings:
        cdr["remark"] = printable("; ".join(warnings))[:_REMARK]
    return cdr


def _location(state: SessionState, site: Site) -> JSONObject:
    connector, coordinates = state.connector, site.coordinates
    location: JSONObject = {
        "id": site.id,
        "name": site.name or None,
        "address": site.address[:45] or NOT_AVAILABLE,
        "city": site.city[:45] or NOT_AVAILABLE,
        "postal_code": site.postal_code or None,
        "country": site.country or NOT_AVAILABLE,
        "coordinates": {
            "latitude": _degrees(coordinates.latitude) if coordinates else "0.00000",
            "longitude": _degrees(coordinates.longitude) if coordinates else "0.00000",
        },
        "evse_uid": state.evse_uid,
        "evse_id": state.evse_id or NOT_AVAILABLE,
        "connector_id": connector.id if connector else str(state.connector_id),
        "connector_standard": connector.standard if connector else "IEC_62196_T2",
        "connector_format": connector.format if connector else "SOCKET",
        "connector_power_type": connector.power_type if connector else "AC_3_PHASE",
    }
    return {key: value for key, value in location.items() if value is not None}


def _degrees(text: str) -> str:
    """The same degrees with the five decimals that OCPI asks for at least."""
    if _TOO_FEW_DECIMALS.fullmatch(text) is None:
        return text
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals:0<{_DECIMALS}}"


def obstacle_of(cdr: JSONObject) -> Obstacle | None:
    """What OCPI does not allow in the CDR; None where it may be a fact."""
    try:
        parse(v2_3_0.CDR, msgspec.json.encode({**cdr, "cdr_token": _TOKEN}))
    except OcpiInvalidError as error:
        return _obstacle(cdr, error.path, error.message)
    except (NotJsonError, ValueError) as error:
        return Obstacle(field="cdr", reason=one_line(str(error)))
    return next(_not_meant(cdr), None)


def _not_meant(cdr: JSONObject) -> Iterator[Obstacle]:
    """What has the form that OCPI says and is not what it names."""
    location = cdr["cdr_location"]
    party = f"{cdr['country_code']}*{cdr['party_id']}"
    if PARTY.fullmatch(party) is None:
        yield _obstacle(cdr, "country_code", f"and party_id must be such as DE and ABC, got {show(party)}")
    if CURRENCY.fullmatch(cdr["currency"]) is None:
        yield _obstacle(cdr, "currency", "must be an ISO 4217 code such as EUR")
    country = location["country"]
    if country != NOT_AVAILABLE and COUNTRY.fullmatch(country) is None:
        yield _obstacle(cdr, "cdr_location.country", "must be an ISO 3166-1 alpha-3 code such as DEU")
    for index, tariff in enumerate(cdr.get("tariffs", ())):
        if tariff["currency"] != cdr["currency"]:
            path = f"tariffs[{index}].currency"
            yield _obstacle(cdr, path, f"is not {cdr['currency']}, the currency of the CDR")
    for path in ("id", "session_id", "cdr_location.id", "cdr_location.evse_uid", "cdr_location.connector_id"):
        if not _value(cdr, path):
            yield _obstacle(cdr, path, "is required")


def _obstacle(cdr: JSONObject, path: str, message: str) -> Obstacle:
    value = _value(cdr, path)
    return Obstacle(
        field=path[:80] or "cdr",
        value="" if isinstance(value, dict | list) or value is None else printable(str(value))[:40],
        reason=one_line(message),
    )


def _value(cdr: JSONObject, path: str) -> object:
    """What stands at a path such as `tariffs[0].id`; None where nothing does."""
    value: object = cdr
    for step in _STEP.findall(path):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.startswith("["):
            value = value[int(step[1:-1])]
        else:
            return None
    return value


def printable(text: str) -> str:
    """With a space for every character that OCPI's texts do not have."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", " ", text)


def one_line(text: str) -> str:
    """At most 200 characters in one line."""
    return " ".join(printable(text).split())[:_REASON]
