"""Asks an eMSP whether its token may charge now: POST {tokens}/{uid}/authorize."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from application.authorization import Answer
from application.roaming import Place
from domain.values import PartyId
from gateway.ocpi.client import OcpiClient, OcpiClientError
from gateway.ocpi.partners import PartnerBook
from gateway.ocpi.url_policy import UrlRefusedError
from projections.store import StoreUnavailableError
from protocols.ocpi import dump
from protocols.ocpi.envelope import PartyId as RoutingParty

PATIENCE = 5.0
"""An answer that comes after the driver's 300 ms still serves the next request."""


class OcpiRealTime:
    """The `RealTime` port over OCPI."""

    def __init__(self, partners: PartnerBook, client: OcpiClient, hub: tuple[str, str]) -> None:
        self._partners = partners
        self._client = client
        self._hub = RoutingParty(*hub)

    async def authorize(self, owner: PartyId, uid: str, type: str, place: Place) -> Answer | None:
        """None where there is no answer: not connected, silent, an error, an unknown token."""
        try:
            contact = await self._partners.of_party(owner)
            url = contact.endpoint("tokens", "SENDER") if contact else None
            if contact is None or url is None:
                return None
            body: dict[str, Any] | None = None
            if place.location_id:
                body = {"location_id": place.location_id}
                if place.evse_uids:
                    body["evse_uids"] = list(place.evse_uids)
            asker = place.party or self._hub
            answer = await self._client.request(
                "POST",
                f"{url}/{quote(uid, safe='')}/authorize",
                contact.peer,
                body=dump(body) if body else None,
                query={"type": type or "RFID"},
                to=RoutingParty(owner.country_code, owner.party_id),
                sender=RoutingParty(asker.country_code, asker.party_id),
                timeout=PATIENCE,
            )
        except (OcpiClientError, UrlRefusedError, StoreUnavailableError):
            return None
        data = answer.data
        if not answer.ok or not isinstance(data, dict) or not isinstance(data.get("allowed"), str):
            return None
        return Answer(str(data["allowed"]), str(data.get("authorization_reference") or ""))
