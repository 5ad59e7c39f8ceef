"""Tokens (`chargesphere.tokens`), found by their key; what identifies a person is sealed.

`holder` put it, `known_since` is when it did so first, `contested_by` are other eMSPs with a token of the same uid.
`shared` ones are told to all CPOs. `commanded` is the last charge that its owner asked for by a command.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from commands.base import Meta
from domain.token import (
    AuthorizationGiven,
    PersonalDataErased,
    Token,
    TokenContested,
    TokenPut,
    TokenRemoved,
    owner_text,
)
from projections.base import Target, View
from projections.moment import utc_text
from projections.store import HUB, Document, IndexSpec, index

TokenEvent = TokenPut | TokenRemoved | TokenContested | PersonalDataErased | AuthorizationGiven


def target(event: TokenEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: TokenEvent, meta: Meta) -> Document | None:
    if isinstance(event, TokenRemoved | PersonalDataErased):
        return None
    if isinstance(event, TokenPut):
        before = document if document is not None and document.get("holder") == (event.holder or None) else {}
        return {
            "owner": owner_text(event.owner, event.tenant),
            "holder": event.holder or None,
            "known_since": before.get("known_since") or utc_text(event.timestamp),
            "contested_by": before.get("contested_by") or [],
            "tenant_id": event.tenant or None,
            "key": event.key,
            "type": event.token_type,
            "valid": event.valid,
            "whitelist": event.whitelist or None,
            "shared": event.shared,
            "status": event.status or None,
            "expiry_date": utc_text(event.expires_at),
            "group": event.group or None,
            "group_sealed": event.group_sealed,
            "cdr_token": event.cdr_token,
            "body": event.body,
            "last_updated": utc_text(event.last_updated),
            "updated_at": utc_text(event.timestamp),
            "authorization": before.get("authorization"),
            "commanded": before.get("commanded") if event.valid else None,
        }
    if document is None:
        return None
    if isinstance(event, TokenContested):
        return {**document, "contested_by": [str(other) for other in event.others]}
    if event.party is not None:
        return document  # it holds where a foreign CPO asked, and nowhere else
    given: Document = {
        "allowed": event.allowed,
        "at": utc_text(event.timestamp),
        "authorization_reference": event.authorization_reference or None,
        "tenant_id": event.tenant or None,
    }
    if event.commanded:
        return {**document, "commanded": {**given, "charge_point_id": event.charge_point_id}}
    return {**document, "authorization": given}


def owners_in_order(tokens: Iterable[Document], order: Sequence[str]) -> list[str]:
    """The owners of tokens with one uid: those that the order names, then by the time of their first put."""
    since: dict[str, str] = {}
    for token in tokens:
        owner, known_since = str(token["owner"]), str(token["known_since"])
        since[owner] = min(known_since, since.get(owner, known_since))
    rank = {owner: place for place, owner in enumerate(order)}
    return sorted(since, key=lambda owner: (rank.get(owner, len(rank)), since[owner], owner))


VIEW = View("tokens", Token.kind, "tokens", target, evolve, dense=True)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "tokens", "key"),
        index(HUB, "tokens", "owner", "last_updated"),
        index(HUB, "tokens", "shared", "known_since"),
        index(HUB, "tokens", "shared", "last_updated"),
        index(HUB, "tokens", "tenant_id", "-updated_at"),
    )
