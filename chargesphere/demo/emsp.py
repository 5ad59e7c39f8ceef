"""An eMSP: it gives cards to drivers, says in real time who may charge, asks for charges, takes sessions and CDRs.

What enters: the hub's requests. What leaves: tokens, authorizations, commands, and a record of all that came, in
which a CDR that differs from an earlier one of the same id is a violation. Every fifth POST of a CDR is refused, so
that the hub's retries can be seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Final
from uuid import uuid4

from chargesphere.demo.platform import Answer, Asked, OcpiFailedError, Platform, text_of
from protocols.ocpi import OcpiInvalidError, dump_json, parse_json
from protocols.ocpi.envelope import PartyId, StatusCode
from protocols.ocpi.patch import apply_patch
from protocols.ocpi.types import JSON, write_date_time
from protocols.ocpi.v2_3_0 import CDR, CommandResponse, CommandResult, Session, Tariff

PATIENCE: Final = 30.0
"""Seconds that an app waits for what became of a command."""
WHITELISTS: Final = ("ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER")
OWNED: Final = "/{country_code}/{party_id}/{id}"


@dataclass(frozen=True, slots=True)
class Card:
    """An RFID card of a driver. A blocked one is refused in real time."""

    uid: str
    whitelist: str
    contract_id: str
    blocked: bool = False


def make_cards(count: int, party: str = "NLTNM") -> tuple[Card, ...]:
    """Cards over all whitelists in turn, with uids that fit OCPP's 20 characters."""
    return tuple(
        Card(f"04D0{number:010X}", WHITELISTS[number % 4], f"{party[:2]}-{party[2:]}-C{number:08d}")
        for number in range(count)
    )


class Emsp(Platform):
    """`refuse_every` n: each n-th POST of a CDR fails, by turns with HTTP 500 and with status_code 3000."""

    def __init__(
        self,
        cards: Sequence[Card] = (),
        *,
        country_code: str = "NL",
        party_id: str = "TNM",
        name: str = "The Demo Mobility",
        refuse_every: int = 5,
    ) -> None:
        super().__init__("EMSP", country_code, party_id, name)
        self.cards = {card.uid: card for card in cards}
        self.sessions: dict[str, Session] = {}
        self.cdrs: dict[str, dict[str, JSON]] = {}
        self.tariffs: dict[str, Tariff] = {}
        self._came: dict[str, datetime] = {}
        self._results: dict[str, asyncio.Future[str]] = {}
        self.commands = self.command_results = 0
        self.authorizations = self.session_pushes = self.cdr_posts = self.repeats = self.refused = 0
        self._refuse_every = refuse_every
        self._since = write_date_time(datetime.now(UTC).replace(microsecond=0))
        self.open(
            "tokens",
            "SENDER",
            {"": self._tokens, "/{uid}/authorize": self._authorize},
            {"": ("GET",), "/{uid}/authorize": ("POST",)},
        )
        self.open("sessions", "RECEIVER", {OWNED: self._session}, {OWNED: ("GET", "PUT", "PATCH")})
        self.open(
            "cdrs",
            "RECEIVER",
            {"": self._post_cdr, "/{id}": self._get_cdr},
            {"": ("POST",), "/{id}": ("GET",)},
        )
        self.open(
            "commands",
            "SENDER",
            {"/{command}/{uid}": self._result},
            {"/{command}/{uid}": ("POST",)},
        )
        self.open("tariffs", "RECEIVER", {OWNED: self._tariff}, {OWNED: ("GET", "PUT", "DELETE")})

    # -- tokens ------------------------------------------------------------------------------------------------

    def token(self, card: Card) -> dict[str, JSON]:
        """The card as an OCPI Token."""
        return {
            "country_code": self.party.country_code,
            "party_id": self.party.party_id,
            "uid": card.uid,
            "type": "RFID",
            "contract_id": card.contract_id,
            "visual_number": f"Card {card.uid[-4:]}",
            "issuer": self.name,
            "valid": not card.blocked,
            "whitelist": card.whitelist,
            "last_updated": self._since,
        }

    async def push_tokens(self) -> None:
        """PUT every card to each CPO that the hub reaches, else to all, and read one back. Raises OcpiFailedError."""
        base = self.endpoints.get(("tokens", "RECEIVER"))
        if base is None:
            raise OcpiFailedError("the hub takes no tokens")
        url = f"{base.rstrip('/')}/{self.party.country_code}/{self.party.party_id}"
        for to in self.reachable or (None,):
            for card in self.cards.values():
                await self.ask("PUT", f"{url}/{card.uid}", self.token(card), to=to)
        for to, card in list(product(self.reachable, self.cards.values()))[-1:]:
            back = await self.ask("GET", f"{url}/{card.uid}", to=to)
            if text_of(back, "uid") != card.uid or text_of(back, "contract_id") != card.contract_id:
                self.violation(f"GET {url}/{card.uid}", "the token that was put is not the one read back")

    async def _tokens(self, asked: Asked) -> Answer:
        total = str(len(self.cards))
        offset = int(asked.query.get("offset", "0"))
        items: list[JSON] = [self.token(card) for card in list(self.cards.values())[offset:]]
        return Answer(items, headers={"X-Total-Count": total, "X-Limit": "1000"})

    async def _authorize(self, asked: Asked) -> Answer:
        self.authorizations += 1
        card = self.cards.get(asked.path["uid"])
        if card is None:
            return Answer(http=404, status_code=StatusCode.UNKNOWN_TOKEN, message="unknown token")
        info: dict[str, JSON] = {
            "allowed": "BLOCKED" if card.blocked else "ALLOWED",
            "token": self.token(card),
            "authorization_reference": str(uuid4()),
        }
        return Answer(info)

    # -- commands ----------------------------------------------------------------------------------------------

    async def command(self, name: str, body: Mapping[str, JSON], to: PartyId) -> str:
        """Ask a CPO; the CommandResult, or the CommandResponse where that is no ACCEPTED, or empty for neither.

        Raises OcpiFailedError."""
        base = self.endpoints.get(("commands", "RECEIVER"))
        if base is None:
            raise OcpiFailedError("the hub takes no commands")
        uid = str(uuid4())
        self._results[uid] = result = asyncio.get_running_loop().create_future()
        self.commands += 1
        url = f"{self.endpoint('commands', 'SENDER')}/{name}/{uid}"
        answer = await self.ask("POST", f"{base.rstrip('/')}/{name}", {**body, "response_url": url}, to=to)
        response = parse_json(CommandResponse, answer)
        if response.result.value != "ACCEPTED":
            return response.result.value
        done, _ = await asyncio.wait({result}, timeout=PATIENCE)
        return result.result() if done else ""

    async def start(self, card: Card, location_id: str, evse_uid: str, to: PartyId) -> str:
        """START_SESSION with a card, on the first connector of an EVSE."""
        body: dict[str, JSON] = {
            "token": self.token(card),
            "location_id": location_id,
            "evse_uid": evse_uid,
            "connector_id": "1",
            "authorization_reference": str(uuid4()),
        }
        return await self.command("START_SESSION", body, to)

    async def stop(self, card: Card, to: PartyId) -> str:
        """STOP_SESSION of the session that runs with a card; empty where none is known."""
        for session in self.sessions.values():
            if session.cdr_token.uid == card.uid and session.status.value == "ACTIVE":
                return await self.command("STOP_SESSION", {"session_id": session.id}, to)
        return ""

    async def _result(self, asked: Asked) -> Answer:
        result = parse_json(CommandResult, asked.body).result.value
        self.command_results += 1
        waiting = self._results.get(asked.path["uid"])
        if waiting is None:
            return Answer(http=404, status_code=StatusCode.CLIENT_ERROR, message="unknown command")
        if waiting.done() and waiting.result() != result:
            self.violation(f"result of {asked.path['command']}", f"{waiting.result()}, and then {result}")
        elif not waiting.done():
            waiting.set_result(result)
        return Answer()

    # -- sessions ----------------------------------------------------------------------------------------------

    async def _session(self, asked: Asked) -> Answer:
        id = asked.path["id"]
        stored = self.sessions.get(id.lower())
        if asked.method == "GET" or (asked.method == "PATCH" and stored is None):
            if stored is None:
                return Answer(http=404, status_code=StatusCode.CLIENT_ERROR, message="unknown session")
            return Answer(dump_json(stored))
        self.session_pushes += 1
        if asked.method == "PUT":
            session = parse_json(Session, asked.body)
        else:
            assert stored is not None
            session = apply_patch(Session, dump_json(stored), asked.body)
        self._same_owner(asked, session.country_code, session.party_id, session.id)
        if stored is not None and session.last_updated < stored.last_updated:
            self.violation(f"{asked.method} session {id}", "an older state came after a newer one")
        if stored is not None and stored.status.value == "COMPLETED" != session.status.value:
            self.violation(f"{asked.method} session {id}", f"went from COMPLETED to {session.status.value}")
        self.sessions[id.lower()] = session
        return Answer(http=200 if stored is not None else 201)

    def _same_owner(self, asked: Asked, country_code: str, party_id: str, id: str) -> None:
        named = (asked.path["country_code"], asked.path["party_id"], asked.path["id"])
        if tuple(part.lower() for part in named) != (country_code.lower(), party_id.lower(), id.lower()):
            raise OcpiInvalidError("id", f"the URL names {'/'.join(named)}, the body another object")

    # -- CDRs --------------------------------------------------------------------------------------------------

    async def _post_cdr(self, asked: Asked) -> Answer:
        cdr = parse_json(CDR, asked.body)
        assert isinstance(asked.body, dict)
        self.cdr_posts += 1
        if self._refuse_every and self.cdr_posts % self._refuse_every == 0:
            self.refused += 1
            http = 500 if self.refused % 2 else 200
            return Answer(http=http, status_code=StatusCode.SERVER_ERROR, message="refused on purpose")
        key = cdr.id.lower()
        known = self.cdrs.get(key)
        if known is not None:
            self.repeats += 1
            if known != asked.body:
                self.violation(f"POST CDR {cdr.id}", "the same id came with another body")
        if cdr.session_id is not None:
            self._one_a_session(cdr)
        self.cdrs.setdefault(key, asked.body)
        self._came.setdefault(key, datetime.now(UTC))
        location = {"Location": f"{self.endpoint('cdrs', 'RECEIVER')}/{cdr.id}"}
        return Answer(http=200 if known is not None else 201, headers=location)

    def _one_a_session(self, cdr: CDR) -> None:
        others = [
            id
            for id, body in self.cdrs.items()
            if id != cdr.id.lower() and body.get("session_id") == cdr.session_id and not body.get("credit")
        ]
        if others and not cdr.credit:
            self.violation(f"POST CDR {cdr.id}", f"session {cdr.session_id} has the CDR {others[0]} already")

    def cdr_seconds(self, id: str, after: datetime | None) -> float:
        """How long after a moment the CDR came; 0 where either is not known."""
        came = self._came.get(id.lower())
        return (came - after).total_seconds() if came is not None and after is not None else 0.0

    async def _get_cdr(self, asked: Asked) -> Answer:
        known = self.cdrs.get(asked.path["id"].lower())
        if known is None:
            return Answer(http=404, status_code=StatusCode.CLIENT_ERROR, message="unknown CDR")
        return Answer(known)

    # -- tariffs -----------------------------------------------------------------------------------------------

    async def _tariff(self, asked: Asked) -> Answer:
        key = "/".join(asked.path.values()).lower()
        match asked.method:
            case "PUT":
                tariff = parse_json(Tariff, asked.body)
                self._same_owner(asked, tariff.country_code, tariff.party_id, tariff.id)
                self.tariffs[key] = tariff
                return Answer()
            case "DELETE":
                self.tariffs.pop(key, None)
                return Answer()
        stored = self.tariffs.get(key)
        if stored is None:
            return Answer(http=404, status_code=StatusCode.CLIENT_ERROR, message="unknown tariff")
        return Answer(dump_json(stored))
