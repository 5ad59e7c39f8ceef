"""What is there before a world begins: a tenant with its tariff, its tags and charge points, and a roaming partner.

What leaves: commands, as the doors would make them. Ids, prices and times are those of the checker's slow model too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from application.vault import Vault
from commands.base import Command
from commands.charge_point import Register
from commands.directory import ClaimParties
from commands.partner import CreatePartner
from commands.partner import Register as RegisterPartner
from commands.tariff import PutTariff
from commands.tenant import CreateTenant
from commands.token import PutToken
from domain.directory import PartyRole
from domain.partner import Endpoint, PartnerConnection, PartnerRole, Secret
from domain.tenant import Configuration, TenantParty
from domain.values import Connector, Coordinates, Evse, JSONObject, PartyId, Site

TENANT: Final = "demo"
CHARGE_POINTS: Final = ("CP-1", "CP-2", "CP-3")
ROOM: Final = 3
"""How many strangers the tenant has room for."""
MOST_SKEW: Final = 1.9
"""Seconds by which the clocks of two processes differ at most: a little less than `CLOCKS_APART`."""
OWN_TAG: Final = "LOCAL-1"
ROAMING_TAGS: Final = ("ROAM-1", "ROAM-2")
CPO: Final = PartyId(country_code="DE", party_id="ABC")
EMSP: Final = PartyId(country_code="NL", party_id="TNM")
PRICE_PER_KWH: Final = Decimal("0.25")
PRICE_FLAT: Final = Decimal("1.00")
MASTER_KEY: Final = bytes(range(32))
UPDATED: Final = datetime(2026, 2, 1, tzinfo=UTC)
PARTNER_URL: Final = "https://tnm.example"

_TYPE2 = Connector(
    id="1",
    standard="IEC_62196_T2",
    format="SOCKET",
    power_type="AC_3_PHASE",
    max_voltage=230,
    max_amperage=32,
    tariff_ids=("T1",),
)
_SITE = Site(
    id="LOC1",
    name="Yard",
    address="Weg 1",
    city="Kiel",
    country="DEU",
    coordinates=Coordinates(latitude="54.32330", longitude="10.12280"),
    time_zone="Europe/Berlin",
)
_EVSES = (
    Evse(uid="E1", evse_id="DE*ABC*E1", connectors=(_TYPE2,)),
    Evse(uid="E2", evse_id="DE*ABC*E2", connectors=(_TYPE2,)),
)
_TARIFF: JSONObject = {
    "country_code": "DE",
    "party_id": "ABC",
    "id": "T1",
    "currency": "EUR",
    "elements": [
        {
            "price_components": [
                {"type": "FLAT", "price": float(PRICE_FLAT), "step_size": 1},
                {"type": "ENERGY", "price": float(PRICE_PER_KWH), "step_size": 1},
            ]
        }
    ],
    "tax_included": "NO",
    "last_updated": "2026-02-01T00:00:00Z",
}
_ROLE = PartnerRole(role="EMSP", country_code="NL", party_id="TNM", business_details={"name": "TNM"})


async def provisioning(vault: Vault) -> AsyncIterator[Sequence[Command]]:
    """Commands in groups: those of a group may be decided in any order, after those of the group before."""
    yield (
        ClaimParties(
            owner=f"tenant:{TENANT}", roles=(PartyRole(role="CPO", country_code="DE", party_id="ABC"),)
        ),
        ClaimParties(owner="tnm", roles=(PartyRole(role="EMSP", country_code="NL", party_id="TNM"),)),
    )
    token_b = await vault.seal("partner-tnm", "token-b")
    yield (
        CreateTenant(
            tenant=TENANT,
            name="Demo",
            configuration=Configuration(
                ocpi=TenantParty(country_code="DE", party_id="ABC"),
                session_update_seconds=5,
                auto_register=True,
                max_auto_registered=ROOM,
            ),
        ),
        CreatePartner(
            partner_id="tnm",
            name="TNM",
            roles=(_ROLE,),
            token_a=Secret(digest="a1", sealed=await vault.seal("partner-tnm", "token-a")),
        ),
        PutTariff(owner=CPO, tariff_id="T1", tenant=TENANT, tariff=_TARIFF),
    )
    yield (
        RegisterPartner(
            partner_id="tnm",
            token_a_digest="a1",
            connection=PartnerConnection(
                version="2.3.0",
                versions_url=f"{PARTNER_URL}/versions",
                endpoints=tuple(
                    Endpoint(identifier=module, role="RECEIVER", url=f"{PARTNER_URL}/{module}")
                    for module in ("sessions", "cdrs")
                ),
                roles=(_ROLE,),
                token_b=token_b,
                token_c=Secret(digest="c1", sealed=await vault.seal("partner-tnm", "token-c")),
            ),
        ),
        *[await _roaming(vault, uid) for uid in ROAMING_TAGS],
        await _own(vault),
        *[Register(tenant=TENANT, charge_point_id=id, site=_SITE, evses=_EVSES) for id in CHARGE_POINTS],
    )


async def _roaming(vault: Vault, uid: str) -> PutToken:
    key = vault.token_key("RFID", uid)
    cdr_token = (
        b'{"country_code":"NL","party_id":"TNM","uid":"%s","type":"RFID","contract_id":"NL-TNM-C1234567"}'
        % uid.encode()
    )
    return PutToken(
        owner=EMSP,
        key=key,
        token_type="RFID",
        whitelist="ALWAYS",
        cdr_token=await vault.seal(key, cdr_token),
        body=await vault.seal(key, b"{}"),
        last_updated=UPDATED,
        fingerprint=uid,
    )


async def _own(vault: Vault) -> PutToken:
    key = vault.token_key("RFID", OWN_TAG)
    return PutToken(
        tenant=TENANT,
        key=key,
        token_type="RFID",
        status="Accepted",
        body=await vault.seal(key, b"{}"),
        last_updated=UPDATED,
    )
