"""Tokens (`chargesphere.tokens`), found by their key; what identifies a person is sealed."""

from __future__ import annotations

from commands.base import Meta
from domain.token import AuthorizationGiven, Put, Removed, Token, owner_text
from projections.base import Target, View, utc_text
from projections.store import HUB, Document, IndexSpec, index

TokenEvent = Put | Removed | AuthorizationGiven


def target(event: TokenEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: TokenEvent, meta: Meta) -> Document | None:
    if isinstance(event, Removed):
        return None
    if isinstance(event, Put):
        return {
            "owner": owner_text(event.owner, event.tenant),
            "tenant_id": event.tenant or None,
            "key": event.key,
            "type": event.token_type,
            "valid": event.valid,
            "whitelist": event.whitelist or None,
            "status": event.status or None,
            "expiry_date": utc_text(event.expires_at),
            "group": event.group or None,
            "group_sealed": event.group_sealed,
            "cdr_token": event.cdr_token,
            "body": event.body,
            "last_updated": utc_text(event.last_updated),
            "updated_at": utc_text(event.timestamp),
            "authorization": (document or {}).get("authorization"),
        }
    if document is None:
        return None
    given: Document = {
        "allowed": event.allowed,
        "at": utc_text(event.timestamp),
        "authorization_reference": event.authorization_reference or None,
        "tenant_id": event.tenant or None,
    }
    return {**document, "authorization": given}


VIEW = View("tokens", Token.kind, "tokens", target, evolve, dense=True)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "tokens", "key"),
        index(HUB, "tokens", "owner", "last_updated"),
        index(HUB, "tokens", "tenant_id", "-updated_at"),
    )
