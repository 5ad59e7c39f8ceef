"""Tokens of eMSPs behind the log: a typed Token enters sealed, and is read back from the read store.

The uid stands in no id and no field in the clear: documents are found by a keyed digest of type and uid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from api.ocpi.ports import Bus, ContendedError, TokenPut, Vault
from api.visible import wait_visible
from commands.base import Meta, Refusal
from commands.token import PutToken, TokenReply
from domain.values import PartyId
from projections.store import HUB, ReadStore
from protocols.ocpi import dump, parse, v2_3_0
from streams.envelope import Reply

GROUP = "RFID"
"""The type under which group ids are digested: OCPP's parent id tags are compared with them."""

ATTEMPTS: Final = 6
"""How often a PATCH is merged while others change the same token."""


class PutRefused(Exception):
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

    async def put(self, owner: PartyId, token: v2_3_0.Token, meta: Meta) -> TokenPut:
        """Raises PutRefused for what the log refuses, which for a valid token is an error of ours."""
        return await self._put(owner, token, meta)

    async def patch(
        self,
        owner: PartyId,
        uid: str,
        type: str,
        change: Callable[[v2_3_0.Token], v2_3_0.Token],
        meta: Meta,
    ) -> TokenPut | None:
        """The change is merged anew, under a command id of its own, as often as the token was changed meanwhile."""
        key = self._vault.token_key(type, uid)
        for attempt in range(ATTEMPTS):
            body = await self._body(owner, key)
            if body is None:
                return None
            numbered = f"{meta.command_id}|{attempt}" if attempt else meta.command_id
            try:
                return await self._put(
                    owner,
                    change(parse(v2_3_0.Token, body)),
                    msgspec.structs.replace(meta, command_id=numbered),
                    merged_from=self._fingerprint(body),
                )
            except PutRefused as refused:
                if refused.reply.refusal is not Refusal.CONFLICT:
                    raise
                await self._visible(owner, key, refused.reply)
        raise ContendedError(f"the token was changed {ATTEMPTS} times meanwhile")

    async def get(self, owner: PartyId, uid: str, type: str) -> v2_3_0.Token | None:
        body = await self._body(owner, self._vault.token_key(type, uid))
        return parse(v2_3_0.Token, body) if body is not None else None

    async def _put(
        self, owner: PartyId, token: v2_3_0.Token, meta: Meta, *, merged_from: str = ""
    ) -> TokenPut:
        vault, key = self._vault, self._vault.token_key(str(token.type), token.uid)
        group = vault.token_key(GROUP, token.group_id) if token.group_id else ""
        body = dump(token)
        reply = await self._bus.ask(
            PutToken(
                owner=owner,
                key=key,
                token_type=str(token.type),
                valid=token.valid,
                whitelist=token.whitelist.value,
                group_key=group,
                group_sealed=await vault.seal(group, token.group_id) if token.group_id else "",
                cdr_token=await vault.seal(key, cdr_token(token)),
                body=await vault.seal(key, body),
                last_updated=token.last_updated,
                fingerprint=self._fingerprint(body),
                merged_from=merged_from,
            ),
            meta,
        )
        if reply.refusal is not None:
            raise PutRefused(reply)
        said = msgspec.json.decode(reply.result, type=TokenReply)
        await self._visible(owner, key, reply)
        return TokenPut(said.created, said.applied)

    async def _body(self, owner: PartyId, key: str) -> bytes | None:
        """The token as it was put, as JSON."""
        document = await self._store.get(HUB, "tokens", _id(owner, key))
        return await self._vault.open(str(document["body"])) if document is not None else None

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
