"""A CPO: it registers, offers one location of its own, takes the hub's tokens, and reads what the hub offers.

What enters: the hub's requests. What leaves: its location, and the tokens that it was told or has pulled.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from chargesphere.demo.emsp import OWNED
from chargesphere.demo.platform import Answer, Asked, Platform
from protocols.ocpi import dump_json, parse_each, parse_json
from protocols.ocpi.codec import decode
from protocols.ocpi.envelope import StatusCode, next_link
from protocols.ocpi.patch import apply_patch
from protocols.ocpi.types import JSON, write_date_time
from protocols.ocpi.v2_3_0 import Token


class Cpo(Platform):
    """`pull_tokens` after the registration; tokens are also taken as they are pushed."""

    def __init__(
        self, *, country_code: str = "FR", party_id: str = "ELC", name: str = "Demo Électrique"
    ) -> None:
        super().__init__("CPO", country_code, party_id, name)
        self.tokens: dict[str, Token] = {}
        self._since = write_date_time(datetime.now(UTC).replace(microsecond=0))
        self.open(
            "locations",
            "SENDER",
            {"": self._locations, "/{id}": self._location},
            {"": ("GET",), "/{id}": ("GET",)},
        )
        for module in ("sessions", "cdrs", "tariffs"):
            self.open(module, "SENDER", {"": self._nothing}, {"": ("GET",)})
        self.open("tokens", "RECEIVER", {OWNED: self._token}, {OWNED: ("GET", "PUT", "PATCH")})

    def location(self) -> dict[str, JSON]:
        """Its only location, as an OCPI Location."""
        connector: dict[str, JSON] = {
            "id": "1",
            "standard": "IEC_62196_T2",
            "format": "SOCKET",
            "power_type": "AC_3_PHASE",
            "max_voltage": 230,
            "max_amperage": 32,
            "last_updated": self._since,
        }
        evse: dict[str, JSON] = {
            "uid": "E1",
            "evse_id": "FR*ELC*E1",
            "status": "AVAILABLE",
            "connectors": [connector],
            "last_updated": self._since,
        }
        return {
            "country_code": self.party.country_code,
            "party_id": self.party.party_id,
            "id": "GARE",
            "publish": True,
            "name": "Gare du Nord",
            "address": "18 rue de Dunkerque",
            "city": "Paris",
            "postal_code": "75010",
            "country": "FRA",
            "coordinates": {"latitude": "48.880948", "longitude": "2.355348"},
            "evses": [evse],
            "time_zone": "Europe/Paris",
            "last_updated": self._since,
        }

    async def pull_tokens(self) -> int:
        """Read the hub's list of tokens, page by page, where it offers one. Raises OcpiFailedError."""
        url = self.endpoints.get(("tokens", "SENDER"))
        count = 0
        while url is not None:
            response = await self.send("GET", url)
            envelope = decode(response.content)
            data = envelope.get("data") if isinstance(envelope, dict) else None
            good, bad = parse_each(Token, data)
            for error in bad:
                self.violation(f"GET {url}", str(error))
            for token in good:
                self._keep(token)
            count += len(good)
            url = next_link(response.headers.get("Link"))
        return count

    def _keep(self, token: Token) -> None:
        self.tokens["/".join((token.country_code, token.party_id, token.uid)).lower()] = token

    async def _token(self, asked: Asked) -> Answer:
        key = "/".join(_values(asked.path)).lower()
        stored = self.tokens.get(key)
        if asked.method == "PUT":
            self.tokens[key] = parse_json(Token, asked.body)
            return Answer(http=200 if stored else 201)
        if stored is None:
            return Answer(http=404, status_code=StatusCode.CLIENT_ERROR, message="unknown token")
        if asked.method == "PATCH":
            self.tokens[key] = apply_patch(Token, dump_json(stored), asked.body)
            return Answer()
        return Answer(dump_json(stored))

    async def _locations(self, asked: Asked) -> Answer:
        items: list[JSON] = [self.location()] if asked.query.get("offset", "0") == "0" else []
        return Answer(items, headers={"X-Total-Count": "1", "X-Limit": "100"})

    async def _location(self, asked: Asked) -> Answer:
        if asked.path["id"].lower() != "gare":
            return Answer(http=404, status_code=StatusCode.CLIENT_ERROR, message="unknown location")
        return Answer(self.location())

    async def _nothing(self, asked: Asked) -> Answer:
        return Answer([], headers={"X-Total-Count": "0", "X-Limit": "100"})


def _values(path: Mapping[str, str]) -> tuple[str, str, str]:
    return path["country_code"], path["party_id"], path["id"]
