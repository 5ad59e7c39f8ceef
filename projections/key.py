"""API keys (`chargesphere.keys`), `_id` = the id that stands in the key's text; `tenant_id` null for the platform's.

When a key was last used is no fact of the log: the processes that let callers in note it beside the read models.
"""

from __future__ import annotations

from typing import Final

from commands.base import Meta
from domain.key import Key, KeyCreated, KeyRevoked, KeyRotated
from projections.base import Target, View
from projections.moment import utc_text
from projections.store import HUB, Document, IndexSpec, index

USES_DATABASE: Final = "chargesphere_uses"
USES: Final = "keys"
"""Where the minute stands at which a key was last used; no rebuild drops it."""

KeyEvent = KeyCreated | KeyRotated | KeyRevoked


def key_id_of(aggregate_id: str) -> str:
    """The id of a key in its aggregate's."""
    return aggregate_id.rpartition("|")[2]


def target(event: KeyEvent, meta: Meta) -> Target:
    return Target(HUB, key_id_of(event.originator_id))


def evolve(document: Document | None, event: KeyEvent, meta: Meta) -> Document | None:
    at = utc_text(event.timestamp)
    if isinstance(event, KeyCreated):
        grant = event.grant
        return {
            "tenant_id": event.tenant or None,
            "name": event.name,
            "role": grant.role,
            "scopes": list(grant.scopes),
            "addresses": list(grant.addresses),
            "expires_at": utc_text(grant.expires_at),
            "state": "active",
            "created_at": at,
            "created_by": meta.principal,
            "rotated_at": None,
            "previous_until": None,
            "revoked_at": None,
            "revoked_by": None,
            "secret_digest": event.secret_digest,
            "previous_digest": None,
        }
    if document is None:
        return None
    if isinstance(event, KeyRotated):
        return {
            **document,
            "rotated_at": at,
            "previous_until": utc_text(event.previous_until),
            "secret_digest": event.secret_digest,
            "previous_digest": event.previous_digest,
        }
    return {**document, "state": "revoked", "revoked_at": at, "revoked_by": meta.principal}


VIEW = View("keys", Key.kind, "keys", target, evolve, dense=True)


def indexes() -> tuple[IndexSpec, ...]:
    return (index(HUB, "keys", "tenant_id", "-created_at"),)
