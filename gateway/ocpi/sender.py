"""Sends sessions and CDRs to the eMSP of their token, as they are handed over, and what became of its commands.

Always the whole object by PUT or POST: a PATCH would append charging periods again when it is repeated. After an
unknown outcome a session is put again and a CDR is posted again, with the same id and body. A CommandResult is posted
bare, without the envelope, and a 2xx without one is an answer too (chapter Commands, 13.2.2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid5

import msgspec

from application.bearers import private_fields
from application.ports import Opener
from domain.delivery import COMMANDS
from domain.errors import ChargeSphereError
from domain.partner_command import CommandOutcome, tells_token_in_clear
from domain.values import PartyId
from gateway.ocpi.client import (
    NotOcpiError,
    OcpiAnswer,
    OcpiClient,
    Peer,
    PeerBrokenError,
    PeerTimedOutError,
    PeerUnreachableError,
)
from gateway.ocpi.partners import Contact, PartnerBook
from gateway.ocpi.url_policy import UrlRefusedError
from projections.store import Document
from protocols.ocpi import OcpiInvalidError, decode, dump, parse_json, v2_3_0
from protocols.ocpi.bridging import downgrade
from protocols.ocpi.command_result import command_result
from protocols.ocpi.envelope import PartyId as RoutingParty
from protocols.ocpi.types import JSON
from streams.effects.target import Content, Job, Outcome, Target

logger = logging.getLogger(__name__)

BODY = {"sessions": "session", "cdrs": "cdr", COMMANDS: "command"}
MODELS: dict[str, Any] = {"sessions": v2_3_0.Session, "cdrs": v2_3_0.CDR}

STORIES: Final = UUID("0e6f5b0c-8a53-4b9c-9d7e-64c1f0a5d2b8")
"""The namespace in which a story of ours has the GUID that partners see as X-Correlation-ID. For ever."""
TOO_MANY: Final = frozenset({429, 503})
"""Answers whose Retry-After says how long the partner is to be left alone."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a partner, ready to be made."""

    method: str
    url: str
    peer: Peer
    body: bytes
    to: RoutingParty
    sender: RoutingParty
    bare: bool = False  # an answer needs no envelope


class UnsendableObjectError(ChargeSphereError):
    """An object that can be told to nobody, or not to this partner; the message says which one and why."""


class OcpiSender(Target[Request]):
    """One a process. `clock` is for a Retry-After that names a time."""

    def __init__(
        self, vault: Opener, partners: PartnerBook, client: OcpiClient, clock: Callable[[], datetime]
    ) -> None:
        self._vault = vault
        self._partners = partners
        self._client = client
        self._clock = clock

    async def connected(self, to: PartyId) -> bool:
        return await self._partners.of_party(to) is not None

    async def prepare(self, job: Job, content: Content) -> Request | Outcome:
        contact = await self._partners.of_party(job.to)
        if contact is None:
            return Outcome("offline", reason=f"{job.to} is not connected")
        document = content.document
        if document.get("holder") != contact.holder:
            name = f"{BODY[job.module]} {job.object_id}"
            reason = f"{name}: {job.to} has changed hands since it came about"
            return Outcome("refused", reason=reason, for_good=True)
        if job.module == COMMANDS:
            return await self._result(job, msgspec.convert(document, CommandOutcome), contact)
        try:
            body = await self._body(job, document, contact)
        except UnsendableObjectError as error:
            return Outcome("refused", reason=str(error), for_good=True)
        return self._request(job, document, contact, body)

    async def _result(self, job: Job, outcome: CommandOutcome, contact: Contact) -> Request | Outcome:
        asker = outcome.asker
        url = await self._vault.open(asker.response_url)
        if url is None:
            reason = f"command {job.object_id}: the key of its response_url was destroyed"
            return Outcome("refused", reason=reason, for_good=True)
        if tells_token_in_clear(url.decode(), contact.endpoints.values()):
            reason = (
                f"command {job.object_id}: its response_url is not https, and the partner's endpoints are"
            )
            return Outcome("refused", reason=reason, for_good=True)
        result = command_result(
            outcome.status, outcome.reason, unreached=outcome.unreached, obstacle=outcome.obstacle
        )
        return Request(
            "POST",
            url.decode(),
            contact.peer,
            dump(result),
            RoutingParty(job.to.country_code, job.to.party_id),
            RoutingParty(asker.of.country_code, asker.of.party_id),
            bare=True,
        )

    async def _body(self, job: Job, document: Document, contact: Contact) -> bytes:
        """The object in the partner's version. Raises Unsendable, StoreUnavailableError."""
        name = f"{BODY[job.module]} {job.object_id}"
        token = await self._vault.open(str(document.get("cdr_token") or ""))
        if token is None:
            raise UnsendableObjectError(
                f"{name}: the key of its token was destroyed: nobody can be told any more"
            )
        value: dict[str, Any] = dict(_object(document[BODY[job.module]]))
        value |= await private_fields(self._vault, document)
        value["cdr_token"] = msgspec.json.decode(token)
        try:
            wire = parse_json(MODELS[job.module], exact(value))
        except OcpiInvalidError as error:
            raise UnsendableObjectError(f"{name}: our own object is wrong at {error}") from error
        if not contact.version.startswith("2.2"):
            return dump(wire)
        bridged = downgrade(job.module, wire)
        if bridged.value is None:
            why = "; ".join(f"{loss.path}: {loss.why}" if loss.path else loss.why for loss in bridged.lost)
            raise UnsendableObjectError(f"{name} cannot be said in {contact.version}: {why}")
        for loss in bridged.lost:
            logger.info("%s in %s: %s is lost: %s", name, contact.version, loss.path, loss.why)
        return dump(bridged.value)

    def _request(self, job: Job, document: Document, contact: Contact, body: bytes) -> Request | Outcome:
        url = contact.endpoint(job.module, "RECEIVER")
        if url is None:
            return Outcome("refused", reason=f"{contact.partner_id} has no receiver of {job.module}")
        owner = _object(document[BODY[job.module]])
        country_code, party_id = str(owner["country_code"]), str(owner["party_id"])
        method = "POST"
        if job.module == "sessions":
            method = "PUT"
            url = f"{url}/{quote(country_code)}/{quote(party_id)}/{quote(str(owner['id']), safe='')}"
        to = RoutingParty(job.to.country_code, job.to.party_id)
        return Request(method, url, contact.peer, body, to, RoutingParty(country_code, party_id))

    async def send(self, letter: Request, correlation_id: str) -> Outcome:
        try:
            answer = await self._client.request(
                letter.method,
                letter.url,
                letter.peer,
                body=letter.body,
                to=letter.to,
                sender=letter.sender,
                correlation_id=guid_of(correlation_id),
            )
        except PeerUnreachableError as error:
            return Outcome("unreachable", reason=str(error))
        except (PeerTimedOutError, PeerBrokenError) as error:
            return Outcome("unknown", reason=str(error))
        except UrlRefusedError as error:
            return Outcome("refused", reason=str(error))
        except NotOcpiError as error:
            if letter.bare and 200 <= error.http_status < 300:
                return Outcome("delivered", error.http_status)
            return Outcome("refused", http_status=error.http_status, reason=str(error))
        return _outcome(answer, self._clock())


def guid_of(correlation_id: str) -> str:
    """A story's id as partners see it: always the same GUID, and nothing of ours in it; empty for none."""
    if not correlation_id:
        return ""
    try:
        return str(UUID(correlation_id))
    except ValueError:
        return str(uuid5(STORIES, correlation_id))


def _outcome(answer: OcpiAnswer, now: datetime) -> Outcome:
    if answer.ok:
        location = answer.headers.get("location", "")
        return Outcome("delivered", answer.http_status, remote_url=location[:255])
    after = retry_after(answer.headers.get("retry-after", ""), now) if answer.http_status in TOO_MANY else 0.0
    return Outcome("refused", answer.http_status, answer.summary, retry_after=after)


def retry_after(said: str, now: datetime) -> float:
    """The seconds that a Retry-After names, as a number or as a time (RFC 9110, 10.2.3); 0 for none."""
    if said.isascii() and said.isdigit():
        return float(said[:6])
    try:
        return max(0.0, (parsedate_to_datetime(said) - now).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def exact(value: Any) -> JSON:
    """A document of the read model as wire JSON: its numbers, of at most 15 digits, as exact Decimals."""
    return decode(msgspec.json.encode(value))
