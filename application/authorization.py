"""Who may charge: an id tag is resolved before anything is appended, within the time a driver waits at a reader.

The tenant's own tags come first, then the roaming tokens with that uid, as far as the platform that put them still
speaks for their owner. Of several owners one decides, the first in the tenant's order or else the first by time,
whatever the others say; that they contest it is noted. Whitelist ALWAYS: what is stored. ALLOWED:
stored and valid is accepted, else its owner is asked. ALLOWED_OFFLINE: the owner is asked, what is stored serves on
a timeout. NEVER: the owner is asked. No answer and nothing stored: Invalid. A start never waits for a partner; a
late answer is noted and serves the next one.
Nor is the owner asked where it has just asked for a charge there itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

import msgspec

from application.batched_reads import BatchedReads
from application.roaming import Holders, Place, Tenants
from application.vault import DestroyedError, Vault
from commands.base import Meta
from commands.token import NoteAuthorization, NoteConflict
from domain.token import owner_text
from domain.values import Authorization, PartyId, TagRef
from projections.store import HUB, Document, Query, ReadStore, StoreUnavailableError, every, is_in
from projections.token import owners_in_order
from protocols.ocpi.types import JSON
from streams.deciding.bus import CommandBus
from streams.log import LogUnavailableError

logger = logging.getLogger(__name__)

PATIENCE = 0.3
RECENT = timedelta(minutes=15)
CACHED = 200_000
PAGE = 500
STATUS_OF = {
    "ALLOWED": "Accepted",
    "BLOCKED": "Blocked",
    "EXPIRED": "Expired",
    "NO_CREDIT": "Blocked",
    "NOT_ALLOWED": "Invalid",
}


class Answer(msgspec.Struct, frozen=True):
    """An eMSP's AuthorizationInfo: what matters here, and the whole for who passes it on."""

    allowed: str
    authorization_reference: str = ""
    whole: Mapping[str, JSON] = {}


class NoAnswer(Enum):
    """Why a token's owner said nothing of it."""

    UNKNOWN_TOKEN = "unknown_token"
    PLACE_NEEDED = "place_needed"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"


class RealTime(Protocol):
    """Asks a token's owner."""

    async def authorize(self, owner: PartyId, uid: str, type: str, place: Place) -> Answer | NoAnswer: ...


class TagAuthorizer:
    """`resolve` never raises and never takes longer than a partner's 300 ms and one read."""

    def __init__(
        self,
        store: ReadStore,
        vault: Vault,
        bus: CommandBus,
        real_time: RealTime,
        clock: Callable[[], datetime],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._store = store
        self._vault = vault
        self._bus = bus
        self._real_time = real_time
        self._clock = clock
        self._patience = patience
        self._known: OrderedDict[str, list[Document]] = OrderedDict()
        self._recent: OrderedDict[tuple[str, str], Authorization] = OrderedDict()
        self._contested: OrderedDict[tuple[str, tuple[str, ...]], None] = OrderedDict()
        self._asking: set[asyncio.Task[Authorization | None]] = set()
        self._holders = Holders(store)
        self._tenants = Tenants(store)
        self._tokens = BatchedReads(self._read)

    async def resolve(
        self, tenant: str, charge_point_id: str, id_tag: str, for_start: bool
    ) -> tuple[TagRef, Authorization]:
        """The tag without its text, and what is known of it now."""
        now = self._clock()
        keys = self._vault.tag_keys(id_tag)
        first = self._vault.subject(owner_text(None, tenant), keys[0])
        if self._vault.at_hand(first):
            documents, stale = await self._documents(keys)
        else:  # nearly every tag is sealed under its first key
            (documents, stale), _ = await asyncio.gather(self._documents(keys), self._vault.fetch(first))
        document = await self._choose(documents, tenant, keys, now)
        if document is None:
            status = Authorization(status="Invalid", source="unavailable" if stale else "unknown", as_of=now)
            return await self._reference(tenant, keys[0], id_tag), status
        tag = await self._reference(tenant, str(document["key"]), id_tag)
        if document.get("tenant_id"):
            return tag, _own(document, now)
        return tag, await self._roaming(document, tenant, charge_point_id, id_tag, now, for_start)

    async def refer(self, tenant: str, id_tag: str) -> TagRef:
        """The tag as `resolve` will name it; asks no partner and never raises."""
        keys = self._vault.tag_keys(id_tag)
        documents, _ = await self._documents(keys)
        document = await self._choose(documents, tenant, keys, self._clock())
        return await self._reference(tenant, keys[0] if document is None else str(document["key"]), id_tag)

    async def _reference(self, tenant: str, key: str, id_tag: str) -> TagRef:
        subject = self._vault.subject(owner_text(None, tenant), key)
        try:
            return TagRef(key=key, sealed=await self._vault.seal(subject, id_tag))
        except (StoreUnavailableError, DestroyedError):
            return TagRef(key=key)

    async def _documents(self, keys: tuple[str, ...]) -> tuple[list[Document], bool]:
        """The tokens with these keys as they are now; while the store is away, as they were last seen."""
        try:
            found = await self._held(await self._tokens.get(" ".join(keys)) or [])
        except StoreUnavailableError:
            return self._known.get(keys[0], []), True
        self._known[keys[0]] = found
        self._known.move_to_end(keys[0])
        if len(self._known) > CACHED:
            self._known.popitem(last=False)
        return found, False

    async def _held(self, documents: list[Document]) -> list[Document]:
        """Without the tokens of platforms that speak for their owner no more."""
        if all(document.get("tenant_id") for document in documents):
            return documents
        holders = await self._holders.now()
        return [d for d in documents if d.get("tenant_id") or _holds(d, holders)]

    async def _choose(
        self, documents: list[Document], tenant: str, keys: tuple[str, ...], now: datetime
    ) -> Document | None:
        """The tenant's own tag, else the roaming token of the first owner, of several the first by type."""
        own = [d for d in documents if d.get("tenant_id") == tenant]
        if own:
            return own[0]
        roaming = [d for d in documents if not d.get("tenant_id")]
        owners = {str(d["owner"]) for d in roaming}
        if len(owners) > 1:
            first, *others = owners_in_order(roaming, await self._tenants.order(tenant))
            roaming = [d for d in roaming if d["owner"] == first]
        else:
            others = []
        order = {key: rank for rank, key in enumerate(keys)}
        chosen = min(roaming, key=lambda d: order.get(str(d["key"]), 99), default=None)
        if chosen is not None and others:
            await self._note_conflict(chosen, others, tenant, now)
        return chosen

    async def _note_conflict(self, token: Document, others: list[str], tenant: str, now: datetime) -> None:
        """A process tells it once; the log knows it anyway."""
        told = (f"{token['_id']}|{token['holder']}", tuple(sorted(others)))
        contested = token.get("contested_by")
        if told in self._contested or (isinstance(contested, list) and set(others) <= set(contested)):
            return
        note = NoteConflict(
            owner=PartyId.of(str(token["owner"])),
            key=str(token["key"]),
            others=tuple(PartyId.of(other) for other in others),
        )
        if await self._tell(note, f"contested|{told[0]}|{' '.join(told[1])}", tenant, now):
            self._contested[told] = None
            if len(self._contested) > CACHED:
                self._contested.popitem(last=False)

    async def _tell(
        self, note: NoteAuthorization | NoteConflict, id: str, tenant: str, now: datetime
    ) -> bool:
        meta = Meta(command_id=id, at=now, tenant=tenant, principal="gateway")
        try:
            await self._bus.tell(note, meta)
        except LogUnavailableError as error:
            logger.warning("what was learnt of a token was not noted: %s", error)
            return False
        return True

    async def _read(self, tags: Sequence[str]) -> dict[str, list[Document]]:
        """The tokens of several tags, each named by its keys, in one read."""
        of_key = {key: tag for tag in tags for key in tag.split()}
        found: dict[str, list[Document]] = {}
        query = Query(HUB, "tokens", (is_in("key", tuple(of_key)),), limit=PAGE)
        async for document in every(self._store, query):
            found.setdefault(of_key[str(document["key"])], []).append(document)
        return found

    async def _roaming(
        self,
        document: Document,
        tenant: str,
        charge_point_id: str,
        id_tag: str,
        now: datetime,
        for_start: bool,
    ) -> Authorization:
        whitelist = str(document.get("whitelist") or "NEVER")
        valid = bool(document.get("valid"))
        stored = _stored(document, now)
        if whitelist == "ALWAYS" or (whitelist == "ALLOWED" and valid):
            return stored
        commanded = _commanded(document, stored, tenant, charge_point_id)
        if commanded is not None and now - commanded.as_of < RECENT:
            return commanded
        recent = self._recent.get((tenant, str(document["_id"])))
        if recent is None or recent.holder != stored.holder:
            recent = _given(document, stored)
        if for_start and recent is not None and now - recent.as_of < RECENT:
            return msgspec.structs.replace(recent, source="recent")
        if for_start:
            # Never wait for a partner here: what is stored decides, and the answer serves the next request.
            self._ask(document, tenant, charge_point_id, id_tag, stored, late=True)
            return (
                stored
                if whitelist == "ALLOWED_OFFLINE"
                else msgspec.structs.replace(stored, status="Invalid", source="unavailable")
            )
        asking = self._ask(document, tenant, charge_point_id, id_tag, stored, late=False)
        done, _ = await asyncio.wait({asking}, timeout=self._patience)
        answered = asking.result() if done else None
        if answered is not None:
            return answered
        if whitelist == "ALLOWED_OFFLINE":
            return stored
        return msgspec.structs.replace(stored, status="Invalid", source="unavailable")

    def _ask(
        self,
        document: Document,
        tenant: str,
        charge_point_id: str,
        id_tag: str,
        stored: Authorization,
        *,
        late: bool,
    ) -> asyncio.Task[Authorization | None]:
        task = asyncio.create_task(self._asked(document, tenant, charge_point_id, id_tag, stored, late))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _asked(
        self,
        document: Document,
        tenant: str,
        charge_point_id: str,
        id_tag: str,
        stored: Authorization,
        late: bool,
    ) -> Authorization | None:
        owner = stored.owner
        if owner is None:
            return None
        try:
            place = await self._tenants.place(tenant, charge_point_id)
            answer = await self._real_time.authorize(owner, id_tag, stored.token_type, place)
        except Exception:
            logger.exception("asking %s failed", owner)
            return None
        if isinstance(answer, NoAnswer):
            return None
        now = self._clock()
        authorization = msgspec.structs.replace(
            stored,
            status=STATUS_OF.get(answer.allowed, "Invalid"),
            source="real_time",
            as_of=now,
            authorization_reference=answer.authorization_reference,
            auth_method="AUTH_REQUEST",
        )
        key = (tenant, str(document["_id"]))
        self._recent[key] = authorization
        self._recent.move_to_end(key)
        if len(self._recent) > CACHED:
            self._recent.popitem(last=False)
        note = NoteAuthorization(
            owner=owner,
            key=str(document["key"]),
            allowed=answer.allowed,
            authorization_reference=answer.authorization_reference,
            for_tenant=tenant,
            charge_point_id=charge_point_id,
            location_id=place.location_id,
            late=late,
        )
        await self._tell(note, f"authorized|{document['_id']}|{now.isoformat()}", tenant, now)
        return authorization


def _own(document: Document, now: datetime) -> Authorization:
    expires = _time(document.get("expiry_date"))
    status = str(document.get("status") or "Invalid")
    if status == "Accepted" and expires is not None and expires <= now:
        status = "Expired"
    return Authorization(
        status=status,
        source="tag",
        as_of=now,
        token_id=f"token|{document['_id']}",
        token_version=_int(document.get("version")),
        token_type=str(document.get("type") or ""),
        parent=str(document.get("group") or ""),
        parent_sealed=str(document.get("group_sealed") or ""),
        expires_at=expires,
        auth_method="WHITELIST",
    )


def _stored(document: Document, now: datetime) -> Authorization:
    return Authorization(
        status="Accepted" if document.get("valid") else "Invalid",
        source="stored",
        as_of=now,
        owner=PartyId.of(str(document["owner"])),
        holder=str(document["holder"]),
        token_id=f"token|{document['_id']}",
        token_version=_int(document.get("version")),
        token_type=str(document.get("type") or "RFID"),
        cdr_token=str(document.get("cdr_token") or ""),
        parent=str(document.get("group") or ""),
        parent_sealed=str(document.get("group_sealed") or ""),
        auth_method="WHITELIST",
    )


def _given(document: Document, stored: Authorization) -> Authorization | None:
    """The latest real-time answer that the read model knows, given through any gateway."""
    given = document.get("authorization")
    if not isinstance(given, Mapping):
        return None
    at = _time(given.get("at"))
    if at is None:
        return None
    return msgspec.structs.replace(
        stored,
        status=STATUS_OF.get(str(given.get("allowed")), "Invalid"),
        as_of=at,
        authorization_reference=str(given.get("authorization_reference") or ""),
        auth_method="AUTH_REQUEST",
    )


def _commanded(
    document: Document, stored: Authorization, tenant: str, charge_point_id: str
) -> Authorization | None:
    """Its owner asked for a charge at this very charge point: then it is not asked in real time for 15 minutes
    (chapter Commands, StartSession)."""
    given = document.get("commanded")
    if not isinstance(given, Mapping):
        return None
    here = (given.get("tenant_id"), given.get("charge_point_id")) == (tenant, charge_point_id)
    at = _time(given.get("at"))
    if not here or at is None:
        return None
    return msgspec.structs.replace(
        stored,
        status="Accepted",
        source="recent",
        as_of=at,
        authorization_reference=str(given.get("authorization_reference") or ""),
        auth_method="COMMAND",
    )


def _holds(token: Document, holders: Mapping[str, str]) -> bool:
    holder = token.get("holder")
    return holder is not None and holders.get(str(token["owner"])) == holder


def _time(value: object) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
