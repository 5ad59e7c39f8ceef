"""Whose token a session or CDR of others bears: the token enters as it came, what leaves is sealed."""

from __future__ import annotations

from application.ports import Opener, Vault
from application.vault import DestroyedError
from domain.bearer import Bearer
from domain.token import owner_text
from domain.values import PartyId, Sealed
from projections.store import HUB, Document, Query, ReadStore, eq, has
from protocols.ocpi import decode, dump, v2_3_0
from protocols.ocpi.types import JSON


async def sealed_beside(vault: Vault, bearer: Bearer, private: JSON) -> Sealed:
    """What says whose token it is too, under the token's key; empty where that was destroyed."""
    subject = vault.subject(_owner_text(bearer.owner, bearer.tenant), bearer.key)
    try:
        return await vault.seal(subject, dump(private))
    except DestroyedError:
        return ""


async def private_fields(vault: Opener, document: Document) -> dict[str, JSON]:
    """The fields of an object that stand sealed beside it; none where their key was destroyed."""
    sealed = document.get("private")
    opened = await vault.open(sealed) if isinstance(sealed, str) and sealed else None
    fields = decode(opened) if opened is not None else {}
    return fields if isinstance(fields, dict) else {}


def _owner_text(owner: PartyId, tenant: str) -> str:
    return owner_text(None if tenant else owner, tenant)


async def bearer_of(store: ReadStore, vault: Vault, token: v2_3_0.CdrToken) -> Bearer | None:
    """The token with the platform, or the tenant, that speaks for its party now; None where nobody does.

    Raises StoreUnavailableError.
    """
    owner = PartyId(country_code=token.country_code.upper(), party_id=token.party_id.upper())
    holder, tenant = await _holder(store, owner), ""
    if not holder:
        tenant = await _tenant(store, owner)
        if not tenant:
            return None
    key, text = vault.token_key(str(token.type), token.uid), dump(token)
    try:
        sealed = await vault.seal(vault.subject(_owner_text(owner, tenant), key), text)
    except DestroyedError:
        sealed = ""  # the uid was erased: nobody keeps it
    return Bearer(
        owner=owner,
        holder=holder,
        tenant=tenant,
        key=key,
        token_type=str(token.type),
        sealed=sealed,
        fingerprint=vault.digest("cdr_token", text.decode()),
    )


async def _holder(store: ReadStore, party: PartyId) -> str:
    """The platform that speaks for an eMSP; empty where the party is none."""
    page = await store.find(Query(HUB, "partners", (has("parties", str(party)),), limit=10))
    for partner in page.items:
        roles = partner["roles"]
        for role in roles if isinstance(roles, list) else ():
            if isinstance(role, dict) and role["role"] == "EMSP" and _names(role, party):
                return str(partner["holder"])
    return ""


def _names(role: Document, party: PartyId) -> bool:
    return (role["country_code"], role["party_id"]) == (party.country_code, party.party_id)


async def _tenant(store: ReadStore, party: PartyId) -> str:
    page = await store.find(Query(HUB, "tenants", (eq("party", str(party)),), limit=1))
    return str(page.items[0]["_id"]) if page.items else ""
