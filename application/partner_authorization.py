"""Whether a token may charge, asked by a foreign CPO: from what its owner has told to all, else by its owner now.

Whitelists as at our own charge points (`authorization`): ALWAYS, and ALLOWED for a valid one, are answered from what
is stored, ALLOWED_OFFLINE where the owner does not answer. Who names the owner in OCPI-to reaches it with any uid.
Every answer is a fact of the token. Unknown uids are few for each partner: beyond them nothing is answered at all for
a while, so that nobody learns which cards there are by trying. Known ones need the same room before they are told,
and give it back: through other processes, or all at once, nobody learns more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import msgspec

from application.authorization import Answer, NoAnswer, RealTime
from application.limiter import RateLimiter
from application.ports import Bus, Vault
from application.roaming import Holders, Place
from commands.base import Meta
from commands.token import NoteAuthorization
from domain.values import PartyId
from projections.store import HUB, Document, Query, ReadStore, eq
from projections.token import owners_in_order
from protocols.ocpi import OcpiInvalidError, decode, dump_json, parse_json, v2_3_0
from protocols.ocpi.types import JSON
from protocols.ocpi.v2_3_0.enums import AllowedType

UNKNOWN_AT_ONCE: Final = 100.0
UNKNOWN_A_SECOND: Final = 1.0
"""How many unknown tokens a partner may ask for."""
MOST_OWNERS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenQuestion:
    """A CPO's question: `to` is the owner that it names, `DE*MSP`; `place` where the token was shown."""

    partner_id: str
    asker: PartyId
    to: str | None
    uid: str
    type: str
    place: v2_3_0.LocationReferences | None
    meta: Meta


@dataclass(frozen=True, slots=True)
class TooManyUnknown:
    """Nothing is said for so many seconds."""

    retry_after: float


class PartnerAuthorizations:
    """One a process."""

    def __init__(
        self,
        store: ReadStore,
        vault: Vault,
        bus: Bus,
        real_time: RealTime,
        limiter: RateLimiter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._vault = vault
        self._bus = bus
        self._real_time = real_time
        self._limiter = limiter
        self._clock = clock
        self._holders = Holders(store)
        self._silent_until: dict[str, float] = {}

    async def holders(self) -> Collection[str]:
        """The platforms that speak for anybody now. Raises StoreUnavailableError."""
        return set((await self._holders.now()).values())

    async def authorize(
        self, question: TokenQuestion
    ) -> v2_3_0.AuthorizationInfo | NoAnswer | TooManyUnknown:
        """Raises LogUnavailableError, StoreUnavailableError."""
        silent = self._silent_until.get(question.partner_id, 0.0) - self._clock()
        if silent > 0:
            return TooManyUnknown(silent)
        document = await self._known(question)
        said, stored = await self._said(question, document)
        partner_id = question.partner_id
        refused = await self._no_room(partner_id, for_good=said is NoAnswer.UNKNOWN_TOKEN)
        if refused is not None:
            return refused
        if isinstance(said, v2_3_0.AuthorizationInfo) and document is not None:
            await self._note(question, document, said, stored=stored)
        return said

    async def _no_room(self, partner_id: str, *, for_good: bool) -> TooManyUnknown | None:
        bucket = f"ocpi|{partner_id}|unknown-tokens", UNKNOWN_AT_ONCE, UNKNOWN_A_SECOND
        verdict = await self._limiter.take(*bucket)
        if not verdict.allowed:
            self._silent_until[partner_id] = self._clock() + verdict.retry_after
            return TooManyUnknown(verdict.retry_after)
        self._silent_until.pop(partner_id, None)
        if not for_good:
            await self._limiter.give_back(*bucket)
        return None

    async def _known(self, question: TokenQuestion) -> Document | None:
        """The token that was told to all, by the owner that is named or else by the first one."""
        key = self._vault.token_key(question.type, question.uid)
        found = (await self._store.find(Query(HUB, "tokens", (eq("key", key),), limit=MOST_OWNERS))).items
        holders = await self._holders.now()
        shared = [
            document
            for document in found
            if document.get("shared")
            and question.to in (None, document["owner"])
            and holders.get(str(document["owner"])) == document["holder"]
        ]
        first, *_ = owners_in_order(shared, ()) or [""]
        return next((document for document in shared if document["owner"] == first), None)

    async def _said(
        self, question: TokenQuestion, document: Document | None
    ) -> tuple[v2_3_0.AuthorizationInfo | NoAnswer, bool]:
        """What is to be told, and whether from what is stored."""
        token = await self._token(document)
        if document is not None and token is None:
            return NoAnswer.UNKNOWN_TOKEN, False  # the key of the person was destroyed
        owner = str(document["owner"]) if document is not None else question.to
        if owner is None or owner not in await self._holders.now():
            return NoAnswer.UNKNOWN_TOKEN, False  # nobody speaks for it
        whitelist = token.whitelist.value if token is not None else "NEVER"
        if token is not None and (whitelist == "ALWAYS" or (whitelist == "ALLOWED" and token.valid)):
            return _stored(question, token), True
        place = question.place
        answer = await self._real_time.authorize(
            PartyId.of(owner),
            token.uid if token is not None else question.uid,
            question.type,
            Place(question.asker, place.location_id, place.evse_uids) if place else Place(question.asker),
        )
        if isinstance(answer, Answer):
            told = _told(answer, token)
            if told is not None:
                return told, False
            answer = NoAnswer.UNREACHABLE
        if token is not None and whitelist == "ALLOWED_OFFLINE" and answer in OFFLINE:
            return _stored(question, token), True
        return answer, False

    async def _token(self, document: Document | None) -> v2_3_0.Token | None:
        body = await self._vault.open(str(document["body"])) if document is not None else None
        return parse_json(v2_3_0.Token, decode(body)) if body is not None else None

    async def _note(
        self, question: TokenQuestion, document: Document, info: v2_3_0.AuthorizationInfo, *, stored: bool
    ) -> None:
        """It is a fact of the token before it is told; so is another answer to the same request said again."""
        note = NoteAuthorization(
            owner=PartyId.of(str(document["owner"])),
            key=str(document["key"]),
            allowed=info.allowed.value,
            authorization_reference=info.authorization_reference or "",
            location_id=question.place.location_id if question.place else "",
            for_party=question.asker,
            stored=stored,
        )
        answer = f"{note.allowed}|{note.authorization_reference}"
        meta = msgspec.structs.replace(question.meta, command_id=f"{question.meta.command_id}|{answer}")
        await self._bus.tell(note, meta)


OFFLINE: Final = frozenset({NoAnswer.TIMEOUT, NoAnswer.UNREACHABLE})


def _stored(question: TokenQuestion, token: v2_3_0.Token) -> v2_3_0.AuthorizationInfo:
    return v2_3_0.AuthorizationInfo(
        allowed=AllowedType.ALLOWED if token.valid else AllowedType.BLOCKED,
        token=token,
        location=question.place,
    )


def _told(answer: Answer, token: v2_3_0.Token | None) -> v2_3_0.AuthorizationInfo | None:
    """As its owner says it; with our token where it leaves that out. None where it is nothing that OCPI knows."""
    whole: dict[str, JSON] = dict(answer.whole)
    if token is not None and "token" not in whole:
        whole["token"] = dump_json(token)
    try:
        return parse_json(v2_3_0.AuthorizationInfo, whole)
    except OcpiInvalidError:
        return None
