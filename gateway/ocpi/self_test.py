"""Looks whether a registered partner can be used: its versions, its details, and each list that it offers.

What enters: a partner's id. What leaves: one step for each thing that was asked, with what came and how long it took.
Nothing is kept, and nothing is asked that changes anything at the partner: endpoints that only take pushes, commands
or results are named and not called.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from application.ports import Vault
from domain.values import PartyId as Party
from gateway.ocpi.client import (
    NotOcpiError,
    OcpiAnswer,
    OcpiClient,
    OcpiClientError,
    PeerBrokenError,
    PeerTimedOutError,
    PeerUnreachableError,
)
from gateway.ocpi.partners import Contact, PartnerBook
from gateway.ocpi.url_policy import UrlRefusedError
from projections.store import HUB, ReadStore
from protocols.ocpi import OcpiInvalidError, parse_each, v2_2_1, v2_3_0
from protocols.ocpi.envelope import TOTAL_COUNT, PartyId
from protocols.ocpi.types import OcpiModel

Verdict = Literal["ok", "refused", "unreachable", "timed_out", "broken", "not_ocpi", "blocked", "not_called"]
"""`refused`: it answered, and not with success; `blocked`: our policy for URLs does not let us ask."""

OBJECTS: Final[Mapping[str, str]] = {
    "locations": "Location",
    "sessions": "Session",
    "cdrs": "CDR",
    "tariffs": "Tariff",
    "tokens": "Token",
    "hubclientinfo": "ClientInfo",
}
"""Modules whose sender has a list, and of what."""
RECENT: Final = timedelta(hours=1)
"""How far back a list is asked that wants `date_from`."""
TIMEOUT_S: Final = 10.0
AT_ONCE: Final = 4
MOST: Final = 40
"""Endpoints that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request, and the milliseconds to its end; a status is 0 where no such answer came."""

    name: str
    url: str
    verdict: Verdict
    http_status: int = 0
    ocpi_status: int = 0
    milliseconds: int = 0
    message: str = ""


class SelfTest:
    """Raises StoreUnavailableError."""

    def __init__(
        self, client: OcpiClient, store: ReadStore, vault: Vault, hub: Party, clock: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._store = store
        self._book = PartnerBook(store, vault)
        self._hub = PartyId(hub.country_code, hub.party_id)
        self._clock = clock

    async def run(self, partner_id: str) -> Sequence[Step] | None:
        """None where the partner is not registered."""
        document = await self._store.get(HUB, "partners", partner_id)
        contact = await self._book.by_id(partner_id) if document else None
        if document is None or contact is None:
            return None
        versions, step = await self._get("versions", str(document["versions_url"]), contact)
        steps = [step]
        if versions is not None:
            steps += await self._versions(versions, contact)
        gate = asyncio.Semaphore(AT_ONCE)
        parties = document["parties"] if isinstance(document["parties"], list) else []
        to = PartyId(*str(parties[0]).split("*", 1)) if parties else None
        named = sorted(contact.endpoints)[:MOST]
        steps += await asyncio.gather(
            *(
                self._endpoint(gate, module, role, contact, to)
                for module, role in named
                if module != "credentials"
            )
        )
        return steps

    async def _versions(self, answer: OcpiAnswer, contact: Contact) -> list[Step]:
        """The details of the version that we speak with it."""
        try:
            offered, _ = parse_each(v2_3_0.Version, answer.data)
        except OcpiInvalidError as error:
            return [_wrong("versions", "", f"the list of versions is none: {error}")]
        known = {one.version: one.url for one in offered}
        url = known.get(contact.version) or known.get(contact.version.removesuffix(".0"))
        name = f"version {contact.version}"
        if url is None:
            return [
                _wrong(name, "", f"is not offered any more, only {', '.join(sorted(known)) or 'nothing'}")
            ]
        details, step = await self._get(name, url, contact)
        if details is None:
            return [step]
        try:
            body = details.data if isinstance(details.data, dict) else {}
            endpoints, _ = parse_each(v2_3_0.Endpoint, body.get("endpoints"))
        except OcpiInvalidError as error:
            return [_wrong(name, url, f"its endpoints: {error}", step)]
        now = {(str(one.identifier), one.role.value): one.url.rstrip("/") for one in endpoints}
        before = {
            key: value.rstrip("/") for key, value in contact.endpoints.items() if key[0] != "credentials"
        }
        moved = sorted("/".join(key) for key, value in before.items() if now.get(key) != value)
        if moved:
            return [_wrong(name, url, f"changed since it registered: {', '.join(moved)}", step)]
        return [step]

    async def _endpoint(
        self, gate: asyncio.Semaphore, module: str, role: str, contact: Contact, to: PartyId | None
    ) -> Step:
        name, url = f"{module} {role}", contact.endpoints[module, role]
        if role != "SENDER" or module not in OBJECTS:
            return Step(
                name=name, url=url, verdict="not_called", message="nothing can be asked without effect"
            )
        since = (self._clock() - RECENT).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
        async with gate:
            answer, step = await self._get(
                name,
                url,
                contact,
                query={"limit": "1", "date_from": since},
                to=None if module == "hubclientinfo" else to,
            )
        if answer is None:
            return step
        objects = (v2_3_0 if contact.version == "2.3.0" else v2_2_1).OBJECTS
        model: type[OcpiModel] = objects[OBJECTS[module]]
        try:
            _, bad = parse_each(model, answer.data)
        except OcpiInvalidError as error:
            return _wrong(name, url, f"data {error}", step)
        if bad:
            return _wrong(name, url, f"data{bad[0]}", step)
        if TOTAL_COUNT.lower() not in answer.headers:
            return _wrong(name, url, f"a list has the header {TOTAL_COUNT}", step)
        return step

    async def _get(
        self,
        name: str,
        url: str,
        contact: Contact,
        *,
        query: Mapping[str, str] | None = None,
        to: PartyId | None = None,
    ) -> tuple[OcpiAnswer | None, Step]:
        """The answer where it says success, and the step."""
        began = time.monotonic()
        verdict: Verdict = "ok"
        http_status = ocpi_status = 0
        message, answer = "", None
        try:
            answer = await self._client.request(
                "GET",
                url,
                contact.peer,
                query=query,
                to=to,
                sender=self._hub if to is not None else None,
                timeout=TIMEOUT_S,
            )
            http_status, ocpi_status = answer.http_status, answer.status_code
            if not answer.ok:
                verdict, message, answer = "refused", answer.summary, None
        except UrlRefusedError as error:
            verdict, message = "blocked", str(error)
        except PeerUnreachableError as error:
            verdict, message = "unreachable", str(error)
        except PeerTimedOutError as error:
            verdict, message = "timed_out", str(error)
        except NotOcpiError as error:
            verdict, http_status, message = "not_ocpi", error.http_status, str(error)
        except (PeerBrokenError, OcpiClientError) as error:
            verdict, message = "broken", str(error)
        return answer, Step(
            name=name,
            url=url,
            verdict=verdict,
            http_status=http_status,
            ocpi_status=ocpi_status,
            milliseconds=round((time.monotonic() - began) * 1000),
            message=message[:300],
        )


def _wrong(name: str, url: str, message: str, step: Step | None = None) -> Step:
    """It answered with success, and what it says is not as the standard wants it."""
    return Step(
        name=name,
        url=url,
        verdict="not_ocpi",
        http_status=step.http_status if step else 200,
        ocpi_status=step.ocpi_status if step else 0,
        milliseconds=step.milliseconds if step else 0,
        message=message[:300],
    )
