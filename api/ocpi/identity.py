"""Who the hub is towards a partner: its credentials object, per version.

To a 2.3.0 partner the hub is `hub_party_id`, and the roles are the parties that it can reach through the hub; to a
2.2.1 partner the hub is the one role HUB, and reachable parties are told by hubclientinfo alone.
"""

from __future__ import annotations

import msgspec

from domain.values import PartyId
from projections.store import HUB, Document, Query, ReadStore, Sort, every
from protocols.ocpi import OcpiInvalidError, decode, dump_json, parse_json, v2_2_1, v2_3_0
from protocols.ocpi.types import JSON


class Identity:
    """Makes credentials objects from the read store. `public_url` without a slash at its end."""

    def __init__(self, store: ReadStore, public_url: str, hub: PartyId, hub_name: str) -> None:
        self._store = store
        self._versions_url = f"{public_url}/ocpi/versions"
        self._hub = hub
        self._hub_name = hub_name

    async def credentials(self, version: str, token: str) -> v2_3_0.Credentials | v2_2_1.Credentials:
        """How the partner accesses us: with this token. Raises StoreUnavailableError."""
        hub: dict[str, JSON] = {
            "country_code": self._hub.country_code,
            "party_id": self._hub.party_id,
            "business_details": {"name": self._hub_name},
        }
        body: dict[str, JSON] = {"token": token, "url": self._versions_url}
        if version == "2.2.1":
            return parse_json(v2_2_1.Credentials, {**body, "roles": [{**hub, "role": "HUB"}]})
        reachable = await self._reachable()
        return parse_json(
            v2_3_0.Credentials,
            {
                **body,
                "hub_party_id": f"{self._hub.country_code}{self._hub.party_id}",
                "roles": [dump_json(role) for role in reachable] or [{**hub, "role": "OTHER"}],
            },
        )

    async def _reachable(self) -> list[v2_3_0.CredentialsRole]:
        """The parties of our tenants: the hub does not route between other platforms yet."""
        found: list[v2_3_0.CredentialsRole] = []
        async for tenant in every(self._store, Query(HUB, "tenants", (), (Sort("created_at"),), 500)):
            configuration = tenant["configuration"]
            party = configuration.get("ocpi") if isinstance(configuration, dict) else None
            if isinstance(party, dict):
                found.append(_cpo(party, str(tenant["name"])))
        return found


def _cpo(party: Document, fallback_name: str) -> v2_3_0.CredentialsRole:
    body = decode(msgspec.json.encode({**party, "role": "CPO"}))
    assert isinstance(body, dict)
    try:
        return parse_json(v2_3_0.CredentialsRole, body)
    except OcpiInvalidError:
        # Its business details are not such as OCPI has them; the party can be reached nevertheless.
        details: dict[str, JSON] = {"name": fallback_name[:100] or "?"}
        return parse_json(v2_3_0.CredentialsRole, {**body, "business_details": details})
