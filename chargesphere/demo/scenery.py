"""What the network asks ChargeSphere to know: two tenants, their tariffs and charge points, and two partners."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from chargesphere.demo.api_client import ApiClient, ApiFailedError
from chargesphere.demo.cpo import Cpo
from chargesphere.demo.emsp import Emsp
from protocols.ocpi.envelope import PartyId

Body = dict[str, Any]
CONNECTORS: Final = 2


@dataclass(frozen=True, slots=True)
class Place:
    """A charge point of a tenant, with the password that it connects with."""

    tenant: str
    identity: str
    password: str


def _tenant(id: str, name: str, party_id: str, tariff: str) -> Body:
    return {
        "id": id,
        "name": name,
        "configuration": {
            "id_prefix": f"{id.upper()}-",
            "currency": "EUR",
            "time_zone": "Europe/Berlin",
            "default_tariff_id": tariff,
            "session_update_seconds": 5,
            "ocpi": {"country_code": "DE", "party_id": party_id, "business_details": {"name": name}},
        },
    }


TENANTS: Final = (
    _tenant("demo", "Demo Charging", "DEM", "BY-ENERGY"),
    _tenant("acme", "ACME Parking", "ACM", "BY-TIME"),
)
TARIFFS: Final[dict[str, tuple[str, Body]]] = {
    "demo": (
        "BY-ENERGY",
        {
            "currency": "EUR",
            "tax_included": "NO",
            "elements": [
                {
                    "price_components": [
                        {"type": "FLAT", "price": 0.5, "vat": 19, "step_size": 1},
                        {"type": "ENERGY", "price": 0.49, "vat": 19, "step_size": 1},
                    ]
                }
            ],
        },
    ),
    "acme": (
        "BY-TIME",
        {
            "currency": "EUR",
            "tax_included": "NO",
            "elements": [
                {
                    "price_components": [
                        {"type": "TIME", "price": 3.6, "vat": 19, "step_size": 1},
                        {"type": "ENERGY", "price": 0.25, "vat": 19, "step_size": 1},
                    ]
                }
            ],
        },
    ),
}
LOCATIONS: Final[dict[str, Body]] = {
    "demo": {
        "id": "ALEX",
        "name": "Alexanderplatz",
        "address": "Alexanderplatz 1",
        "city": "Berlin",
        "postal_code": "10178",
        "country": "DEU",
        "coordinates": {"latitude": "52.521918", "longitude": "13.413215"},
        "time_zone": "Europe/Berlin",
    },
    "acme": {
        "id": "HAFEN",
        "name": "Hafencity",
        "address": "Am Sandtorkai 30",
        "city": "Hamburg",
        "postal_code": "20457",
        "country": "DEU",
        "coordinates": {"latitude": "53.543700", "longitude": "9.992000"},
        "time_zone": "Europe/Berlin",
    },
}
PARTIES: Final = {"demo": "DEM", "acme": "ACM"}


def charge_point(tenant: str, number: int, password: str) -> Body:
    """A charge point with two EVSEs of 11 kW."""
    identity = f"{tenant.upper()}-{number}"
    tariff = TARIFFS[tenant][0]
    connector = {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 16,
        "tariff_ids": [tariff],
    }
    evses = [
        {
            "uid": f"{identity}-{evse}",
            "evse_id": f"DE*{PARTIES[tenant]}*E{number}{evse}",
            "connectors": [connector],
        }
        for evse in range(1, CONNECTORS + 1)
    ]
    return {"id": identity, "password": password, "location": LOCATIONS[tenant], "evses": evses}


def offered(tenant: str, identity: str, connector: int) -> tuple[PartyId, str, str]:
    """How OCPI names a connector of a charge point: the party, its Location and EVSE."""
    return PartyId("DE", PARTIES[tenant]), str(LOCATIONS[tenant]["id"]), f"{identity}-{connector}"


async def furnish(api: ApiClient) -> list[Place]:
    """Create what is missing of tenants, tariffs and charge points. Raises ApiFailedError."""
    places = []
    for tenant in TENANTS:
        id = str(tenant["id"])
        if not await _created(api, "/tenants", tenant):
            await api.ask("PUT", f"/tenants/{id}/config", tenant["configuration"], tenant=id)
        tariff_id, tariff = TARIFFS[id]
        await api.ask("PUT", f"/tariffs/{tariff_id}", tariff, tenant=id)
        for number in (1, 2):
            place = Place(id, f"{id.upper()}-{number}", secrets.token_hex(10))
            body = charge_point(id, number, place.password)
            if not await _created(api, "/chargepoints", body, tenant=id):
                path = f"/chargepoints/{place.identity}/credentials"
                await api.ask("POST", path, {"password": place.password}, tenant=id)
            places.append(place)
    return places


async def connect_partners(api: ApiClient, emsp: Emsp, cpo: Cpo) -> None:
    """The eMSP registers at the hub; the hub registers at the CPO. Raises ApiFailedError or OcpiFailedError."""
    answer = await _partner(api, "demo-emsp", emsp, {})
    await emsp.register(str(answer["versions_url"]), str(answer["token_a"]))
    await _partner(api, "demo-cpo", cpo, {"versions_url": cpo.versions_url, "token": cpo.token_a})
    await api.ask("POST", "/partners/demo-cpo/register")
    await emsp.push_tokens()
    await cpo.pull_tokens()


async def _partner(api: ApiClient, id: str, party: Emsp | Cpo, more: Body) -> Body:
    role = {
        "role": party.role,
        "country_code": party.party.country_code,
        "party_id": party.party.party_id,
        "business_details": {"name": party.name},
    }
    body: Body = {"id": id, "name": party.name, "roles": [role], **more}
    try:
        return await api.ask("POST", "/partners", body)
    except ApiFailedError as error:
        if error.status != 409:
            raise
    await api.ask("DELETE", f"/partners/{id}")
    return await api.ask("POST", "/partners", body)


async def _created(api: ApiClient, path: str, body: Body, *, tenant: str | None = None) -> bool:
    """Whether it is new; False where it exists."""
    try:
        await api.ask("POST", path, body, tenant=tenant)
    except ApiFailedError as error:
        if error.status == 409:
            return False
        raise
    return True
