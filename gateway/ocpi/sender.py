"""Sends sessions and CDRs to the eMSP of their token, as they are in the read model now.

Always the whole object by PUT or POST: a PATCH would append charging periods again when it is repeated. After an
unknown outcome a session is put again and a CDR is posted again, with the same id and body.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from uuid import UUID, uuid5

import msgspec

from application.batched_reads import BatchedReads
from application.ports import Vault
from domain.delivery import AttemptDue, delivery_id
from domain.errors import ChargeSphereError
from domain.values import PartyId
from gateway.ocpi.client import (
    NotOcpiError,
    OcpiAnswer,
    OcpiClient,
    PeerBrokenError,
    PeerTimedOutError,
    PeerUnreachableError,
)
from gateway.ocpi.partners import Contact, PartnerBook
from gateway.ocpi.url_policy import UrlRefusedError
from projections.store import HUB, Document, ReadStore, StoreUnavailableError
from protocols.ocpi import OcpiInvalidError, decode, dump, parse_json, v2_3_0
from protocols.ocpi.bridging import downgrade
from protocols.ocpi.envelope import PartyId as RoutingParty
from protocols.ocpi.types import JSON
from streams.effects.deliveries import Outcome, Sender

logger = logging.getLogger(__name__)

BODY = {"sessions": "session", "cdrs": "cdr"}
MODELS: dict[str, Any] = {"sessions": v2_3_0.Session, "cdrs": v2_3_0.CDR}

STORIES: Final = UUID("0e6f5b0c-8a53-4b9c-9d7e-64c1f0a5d2b8")
"""The namespace in which a story of ours has the GUID that partners see as X-Correlation-ID. For ever."""

LOOK_EVERY_S = 0.05
LOOK_FOR_S = 3.0
"""How often, and how long, the read model is asked for a version that it has not got yet."""


class Found(NamedTuple):
    """A document of the read model and its version."""

    document: Document
    version: int


class Lookout:
    """Waits for documents to have the version that is wanted: all that are waited for are read together.

    Projection is mostly a moment behind the attempts."""

    def __init__(self, store: ReadStore, patience_s: float = LOOK_FOR_S) -> None:
        self._store = store
        self._patience = patience_s
        self._collections: dict[str, BatchedReads[Document]] = {}

    async def find(self, collection: str, id: str, wanted: int) -> Found | None:
        """None where it has not got there in time. Raises StoreError."""
        document = await self.until(collection, id, lambda document: _version(document) >= wanted)
        return Found(document, _version(document)) if document is not None else None

    async def until(self, collection: str, id: str, ready: Callable[[Document], bool]) -> Document | None:
        """The document once it is as it should be; None where it is not in time. Raises StoreError."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        reads = self._collections.get(collection)
        if reads is None:
            reads = BatchedReads(lambda ids: self._store.get_many(HUB, collection, ids))
            self._collections[collection] = reads
        while True:
            document = await reads.get(id)
            if document is not None and ready(document):
                return document
            now = loop.time()
            if now >= until:
                return None
            # All who wait look again at the same moment.
            await asyncio.sleep(LOOK_EVERY_S - now % LOOK_EVERY_S)


def _version(document: Document) -> int:
    return _int(document.get("version"))


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


class UnsendableObjectError(ChargeSphereError):
    """An object that can be told to nobody, or not to this partner; the message says which one and why."""


class OcpiSender(Sender[Found]):
    """One a process."""

    def __init__(
        self,
        store: ReadStore,
        vault: Vault,
        partners: PartnerBook,
        client: OcpiClient,
        clock: Callable[[], datetime],
    ) -> None:
        self._lookout = Lookout(store)
        self._vault = vault
        self._partners = partners
        self._client = client
        self._clock = clock

    async def find(self, job: AttemptDue) -> Found | None:
        """A CDR is found once the end of its session has been told, or that was tried, or takes too long."""
        try:
            found = await self._lookout.find(job.module, job.object_id, job.wanted)
            if found is not None and job.module == "cdrs" and job.attempt == 1:
                await self._session_told(job, _object(found.document["cdr"]))
        except StoreUnavailableError as error:
            logger.warning("%s %s is not found yet: %s", job.module, job.object_id, error)
            return None
        return found

    async def _session_told(self, job: AttemptDue, cdr: Mapping[str, Any]) -> None:
        contact = await self._partners.of_party(job.to)
        session = cdr.get("session_id")
        if contact is None or contact.endpoint("sessions", "RECEIVER") is None or session is None:
            return
        # The end was decided just before the CDR; between a corrected end and its new CDR stands the credit.
        replaces = cdr["id"] != session and not cdr.get("credit")
        end = job.wanted - (2 if replaces else 1)

        def told(delivery: Document) -> bool:
            tried = _int(delivery.get("wanted")) >= end and delivery.get("last_error") is not None
            return tried or _int(delivery.get("sent")) >= end

        id = delivery_id(job.to, "sessions", str(session)).partition("|")[2]
        await self._lookout.until("deliveries", id, told)

    async def send(self, job: AttemptDue, content: Found, correlation_id: str) -> Outcome:
        document, version = content
        try:
            contact = await self._partners.of_party(job.to)
            if contact is None:
                return Outcome("unreachable", reason=f"{job.to} is not connected")
            if document.get("holder") != contact.holder:
                name = f"{BODY[job.module]} {job.object_id}"
                return Outcome("refused", reason=f"{name}: {job.to} has changed hands since it came about")
            body = await self._body(job, document, contact)
        except StoreUnavailableError as error:
            return Outcome("not_ready", reason=str(error))
        except UnsendableObjectError as error:
            return Outcome("refused", reason=str(error))
        if self._clock() >= job.lease:
            # This process stood still meanwhile: the attempt after this one may have told something newer.
            return Outcome("unreachable", reason="its time was over before it could be sent")
        return await self._send(job, version, document, contact, body, guid_of(correlation_id))

    async def _body(self, job: AttemptDue, document: Document, contact: Contact) -> bytes:
        """The object in the partner's version. Raises Unsendable, StoreUnavailableError."""
        name = f"{BODY[job.module]} {job.object_id}"
        token = await self._vault.open(str(document.get("cdr_token") or ""))
        if token is None:
            raise UnsendableObjectError(
                f"{name}: the key of its token was destroyed: nobody can be told any more"
            )
        value: dict[str, Any] = dict(_object(document[BODY[job.module]]))
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

    async def _send(
        self,
        job: AttemptDue,
        version: int,
        document: Document,
        contact: Contact,
        body: bytes,
        correlation_id: str,
    ) -> Outcome:
        url = contact.endpoint(job.module, "RECEIVER")
        if url is None:
            return Outcome("refused", reason=f"{contact.partner_id} has no receiver of {job.module}")
        owner = _object(document[BODY[job.module]])
        party = PartyId(country_code=str(owner["country_code"]), party_id=str(owner["party_id"]))
        method = "POST"
        if job.module == "sessions":
            method = "PUT"
            url = f"{url}/{quote(party.country_code)}/{quote(party.party_id)}/{quote(job.object_id, safe='')}"
        try:
            answer = await self._client.request(
                method,
                url,
                contact.peer,
                body=body,
                to=RoutingParty(job.to.country_code, job.to.party_id),
                sender=RoutingParty(party.country_code, party.party_id),
                correlation_id=correlation_id,
            )
        except PeerUnreachableError as error:
            return Outcome("unreachable", reason=str(error))
        except (PeerTimedOutError, PeerBrokenError) as error:
            return Outcome("unknown", reason=str(error))
        except UrlRefusedError as error:
            return Outcome("refused", reason=str(error))
        except NotOcpiError as error:
            return Outcome("refused", http_status=error.http_status, reason=str(error))
        return _outcome(answer, version)


def guid_of(correlation_id: str) -> str:
    """A story's id as partners see it: always the same GUID, and nothing of ours in it; empty for none."""
    if not correlation_id:
        return ""
    try:
        return str(UUID(correlation_id))
    except ValueError:
        return str(uuid5(STORIES, correlation_id))


def _outcome(answer: OcpiAnswer, version: int) -> Outcome:
    if answer.ok:
        location = answer.headers.get("location", "")
        return Outcome("delivered", version, answer.http_status, remote_url=location[:255])
    return Outcome("refused", http_status=answer.http_status, reason=answer.summary)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def exact(value: Any) -> JSON:
    """A document of the read model as wire JSON: its numbers, of at most 15 digits, as exact Decimals."""
    return decode(msgspec.json.encode(value))
