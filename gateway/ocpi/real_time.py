"""Asks an eMSP whether its token may charge now: POST {tokens}/{uid}/authorize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from application.authorization import Answer, NoAnswer
from application.roaming import Place
from domain.values import PartyId
from gateway.ocpi.client import OcpiClient, OcpiClientError, PeerTimedOutError
from gateway.ocpi.partners import PartnerBook
from gateway.ocpi.url_policy import UrlRefusedError
from projections.store import StoreUnavailableError
from protocols.ocpi import dump
from protocols.ocpi.envelope import PartyId as RoutingParty
from protocols.ocpi.envelope import StatusCode

WHY: Final[Mapping[int, NoAnswer]] = {
    StatusCode.UNKNOWN_TOKEN: NoAnswer.UNKNOWN_TOKEN,
    StatusCode.NOT_ENOUGH_INFORMATION: NoAnswer.PLACE_NEEDED,
}
PATIENCE = 5.0
"""An answer that comes after the driver's 300 ms still serves the next request."""


class OcpiRealTime:
    """The `RealTime` port over OCPI."""

    def __init__(self, partners: PartnerBook, client: OcpiClient, hub: tuple[str, str]) -> None:
        self._partners = partners
        self._client = client
        self._hub = RoutingParty(*hub)

    async def authorize(self, owner: PartyId, uid: str, type: str, place: Place) -> Answer | NoAnswer:
        """Never raises."""
        try:
            contact = await self._partners.of_party(owner)
            url = contact.endpoint("tokens", "SENDER") if contact else None
            if contact is None or url is None:
                return NoAnswer.UNREACHABLE
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
        except PeerTimedOutError:
            return NoAnswer.TIMEOUT
        except (OcpiClientError, UrlRefusedError, StoreUnavailableError):
            return NoAnswer.UNREACHABLE
        data = answer.data
        if answer.ok and isinstance(data, dict) and isinstance(data.get("allowed"), str):
            return Answer(str(data["allowed"]), str(data.get("authorization_reference") or ""), data)
        return WHY.get(answer.status_code, NoAnswer.UNREACHABLE)
