"""Tokens of eMSPs behind the log: a typed Token enters sealed, and is read back from the read store.

The uid stands in no id and no field in the clear: documents are found by a keyed digest of type and uid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from application.ports import Bus, ContendedError, PutOutcome, Vault
from application.read_back import wait_visible
from commands.base import Meta, Refusal
from commands.token import NoteConflict, PutToken, TokenReply
from domain.errors import ChargeSphereError
from domain.values import PartyId
from projections.store import HUB, Document, Query, ReadStore, has, is_in
from projections.token import owners_in_order
from protocols.ocpi import dump, parse, v2_3_0
from streams.log.envelope import Reply

GROUP = "RFID"
"""The type under which group ids are digested: OCPP's parent id tags are compared with them."""

ATTEMPTS: Final = 6
"""How often a PATCH is merged while others change the same token."""


class PutRefusedError(ChargeSphereError):
    """The put was refused; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.message)
        self.reply = reply


class HubTokens:
    """`Tokens` over bus, vault and read store."""

    def __init__(self, bus: Bus, store: ReadStore, vault: Vault, visible_within: float = 0.3) -> None:
        self._bus = bus
        self._store = store
        self._vault = vault
        self._patience = visible_within

    async def put(
        self, owner: PartyId, holder: str, token: v2_3_0.Token, meta: Meta, *, shared: bool
    ) -> PutOutcome:
        """Raises PutRefusedError for what the log refuses, which for a valid token is an error of ours."""
        return await self._put(owner, holder, token, meta, shared)

    async def patch(
        self,
        owner: PartyId,
        holder: str,
        uid: str,
        type: str,
        change: Callable[[v2_3_0.Token], v2_3_0.Token],
        meta: Meta,
        *,
        shared: bool,
    ) -> PutOutcome | None:
        """The change is merged anew, under a command id of its own, as often as the token was changed meanwhile."""
        key = self._vault.token_key(type, uid)
        for attempt in range(ATTEMPTS):
            body = await self._body(owner, holder, key)
            if body is None:
                return None
            numbered = f"{meta.command_id}|{attempt}" if attempt else meta.command_id
            try:
                return await self._put(
                    owner,
                    holder,
                    change(parse(v2_3_0.Token, body)),
                    msgspec.structs.replace(meta, command_id=numbered),
                    shared,
                    merged_from=self._fingerprint(body),
                )
            except PutRefusedError as refused:
                if refused.reply.refusal is not Refusal.CONFLICT:
                    raise
                await self._visible(owner, key, refused.reply)
        raise ContendedError(f"the token was changed {ATTEMPTS} times meanwhile")

    async def get(self, owner: PartyId, holder: str, uid: str, type: str) -> v2_3_0.Token | None:
        body = await self._body(owner, holder, self._vault.token_key(type, uid))
        return parse(v2_3_0.Token, body) if body is not None else None

    async def _put(
        self,
        owner: PartyId,
        holder: str,
        token: v2_3_0.Token,
        meta: Meta,
        shared: bool,
        *,
        merged_from: str = "",
    ) -> PutOutcome:
        vault, key = self._vault, self._vault.token_key(str(token.type), token.uid)
        group = vault.token_key(GROUP, token.group_id) if token.group_id else ""
        subject = vault.subject(str(owner), key)
        body = dump(token)
        reply = await self._bus.ask(
            PutToken(
                owner=owner,
                holder=holder,
                key=key,
                token_type=str(token.type),
                valid=token.valid,
                whitelist=token.whitelist.value,
                group_key=group,
                group_sealed=await vault.seal(vault.subject(str(owner), group), token.group_id)
                if token.group_id
                else "",
                cdr_token=await vault.seal(subject, cdr_token(token)),
                body=await vault.seal(subject, body),
                last_updated=token.last_updated,
                fingerprint=self._fingerprint(body),
                merged_from=merged_from,
                shared=shared,
            ),
            meta,
        )
        if reply.refusal is not None:
            raise PutRefusedError(reply)
        said = msgspec.json.decode(reply.result, type=TokenReply)
        await self._visible(owner, key, reply)
        if said.created:
            await self._note_conflict(token.uid, meta)
        return PutOutcome(said.created, said.applied)

    async def _note_conflict(self, uid: str, meta: Meta) -> None:
        """Several eMSPs have put a token with this uid: the first one's token holds that as a fact."""
        query = Query(HUB, "tokens", (is_in("key", self._vault.tag_keys(uid)),), limit=100)
        roaming = [
            document
            for document in (await self._store.find(query)).items
            if not document["tenant_id"] and await self._is_held(document)
        ]
        first, *others = owners_in_order(roaming, ()) or [""]
        if not others:
            return
        decides = next(document for document in roaming if document["owner"] == first)
        command = NoteConflict(
            owner=PartyId.of(first),
            key=str(decides["key"]),
            others=tuple(PartyId.of(other) for other in others),
        )
        numbered = f"{meta.command_id}|contested"
        await self._bus.ask(command, msgspec.structs.replace(meta, command_id=numbered))

    async def _is_held(self, document: Document) -> bool:
        """Whether the platform that put it still speaks for its owner."""
        query = Query(HUB, "partners", (has("parties", str(document["owner"])),), limit=1)
        return any(
            partner["holder"] == document["holder"] for partner in (await self._store.find(query)).items
        )

    async def _body(self, owner: PartyId, holder: str, key: str) -> bytes | None:
        """The token as this platform put it, as JSON."""
        document = await self._store.get(HUB, "tokens", _id(owner, key))
        if document is None or document["holder"] != holder:
            return None
        return await self._vault.open(str(document["body"]))

    async def _visible(self, owner: PartyId, key: str, reply: Reply) -> None:
        await wait_visible(
            self._store, HUB, "tokens", _id(owner, key), reply.version, patience=self._patience
        )

    def _fingerprint(self, body: bytes) -> str:
        return self._vault.digest("token_body", body.decode())


def cdr_token(token: v2_3_0.Token) -> bytes:
    """The CdrToken of sessions and CDRs that this token leads to."""
    return dump(
        {
            "country_code": token.country_code,
            "party_id": token.party_id,
            "uid": token.uid,
            "type": str(token.type),
            "contract_id": token.contract_id,
        }
    )


def _id(owner: PartyId, key: str) -> str:
    return f"{owner}|{key}"
