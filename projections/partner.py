"""Partners and their connections (`chargesphere.partners`).

`digests` are the keyed digests of every token that opens a door for the partner at this moment or within a grace
(`grace`, until `grace_until`); `digest_a` opens only versions and credentials, `digest_pending` only versions, while
a handshake of ours is under way. Tokens themselves
stand sealed under `sealed_a` (theirs, for our handshake), `sealed_b` (what we use) and `sealed_c` (what they use).
`status_at` is when its status or its roles changed last.
"""

from __future__ import annotations

from commands.base import Meta
from domain.partner import (
    CredentialsUpdated,
    HandshakeBegun,
    HandshakeFailed,
    Partner,
    PartnerConnection,
    PartnerCreated,
    PartnerRegistered,
    PartnerRemoved,
    PartnerResumed,
    PartnerSuspended,
    PartnerUnregistered,
    Roles,
    RolesGranted,
    RolesRefused,
    RolesRequested,
    TokenAReissued,
    holder_text,
)
from projections.base import Target, View, builtins
from projections.moment import utc_text
from projections.store import HUB, JSON, Document, IndexSpec, index, objects

PartnerEvent = (
    PartnerCreated
    | TokenAReissued
    | HandshakeBegun
    | HandshakeFailed
    | PartnerRegistered
    | CredentialsUpdated
    | RolesRequested
    | RolesGranted
    | RolesRefused
    | PartnerUnregistered
    | PartnerSuspended
    | PartnerResumed
    | PartnerRemoved
)
_NOT_CONNECTED: Document = {
    "ocpi_version": None,
    "endpoints": [],
    "receives": [],
    "requested_roles": [],
    "hub_party_id": None,
    "token_raw": False,
    "digest_c": None,
    "digest_pending": None,
    "handshake_error": None,
    "sealed_b": None,
    "sealed_c": None,
    "grace": None,
    "grace_until": None,
    "registered_at": None,
}


def target(event: PartnerEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: PartnerEvent, meta: Meta) -> Document | None:
    at = utc_text(event.timestamp)
    if isinstance(event, PartnerCreated):
        return _known(
            {
                **_NOT_CONNECTED,
                "name": event.name,
                "status": "PLANNED",
                "suspended": False,
                "holder": holder_text(event.partner_id, event.timestamp),
                "roles": _roles(event.roles),
                "granted_roles": _roles(event.roles),
                "versions_url": event.versions_url or None,
                "digest_a": event.token_a.digest,
                "sealed_a": event.their_token_a or None,
                "created_at": at,
                "updated_at": at,
                "status_at": at,
            }
        )
    if document is None or isinstance(event, PartnerRemoved):
        return None
    out: Document = {**document, "updated_at": at}
    if isinstance(event, TokenAReissued):
        out["digest_a"] = event.token_a.digest
        out["versions_url"] = event.versions_url or out["versions_url"]
        out["sealed_a"] = event.their_token_a or out["sealed_a"]
        out["status"] = "SUSPENDED" if out["suspended"] else "PLANNED"
    elif isinstance(event, HandshakeBegun):
        out |= {"digest_pending": event.token_c.digest, "handshake_error": None}
    elif isinstance(event, HandshakeFailed):
        out |= {"digest_pending": None, "handshake_error": event.reason}
    elif isinstance(event, PartnerRegistered):
        out |= {**_connection(event.connection), "digest_a": None, "sealed_a": None, "registered_at": at}
        out["requested_roles"] = _roles(event.requested)
        out["status"] = "SUSPENDED" if out["suspended"] else "CONNECTED"
    elif isinstance(event, CredentialsUpdated):
        out |= {"grace": out["digest_c"], "grace_until": utc_text(event.previous_until)}
        out |= _connection(event.connection)
        out["requested_roles"] = _roles(event.requested)
    elif isinstance(event, RolesRequested):
        out["requested_roles"] = _roles(event.roles)
    elif isinstance(event, RolesRefused):
        out["requested_roles"] = _without(out["requested_roles"], event.roles)
    elif isinstance(event, RolesGranted):
        out |= _granted(out, event.roles)
    elif isinstance(event, PartnerUnregistered):
        out |= {**_NOT_CONNECTED, "digest_a": None}
        out["status"] = "SUSPENDED" if out["suspended"] else "OFFLINE"
    elif isinstance(event, PartnerSuspended):
        out |= {"suspended": True, "status": "SUSPENDED"}
    else:
        out["suspended"] = False
        planned = "PLANNED" if out["digest_a"] else "OFFLINE"
        out["status"] = "CONNECTED" if out["digest_c"] else planned
    if _reachable(out) != _reachable(document):
        out["status_at"] = at
    return _known(out)


def _reachable(document: Document) -> tuple[object, list[tuple[str, str]]]:
    """What others are told of it: its status, and its roles."""
    return document["status"], [_name(role) for role in objects(document["roles"])]


def _known(document: Document) -> Document:
    names = ("digest_a", "digest_c", "grace", "digest_pending")
    return {
        **document,
        "digests": [document[name] for name in names if document.get(name)],
        "parties": list(dict.fromkeys(_party(role) for role in objects(document["roles"]))),
        "receives": _receives(objects(document["roles"]), objects(document["endpoints"])),
        "waiting": bool(document["requested_roles"]),
    }


def _receives(roles: list[Document], endpoints: list[Document]) -> list[JSON]:
    """`ROLE|module` for each role and each module that it receives."""
    modules = [str(one["identifier"]) for one in endpoints if one["role"] == "RECEIVER"]
    return [*sorted({f"{role['role']}|{module}" for role in roles for module in modules})]


def _granted(document: Document, roles: Roles) -> Document:
    """Roles that are granted, and of those that waited the ones that count now."""
    requested = objects(document["requested_roles"])
    waiting = [role for role in requested if _name(role) in {one.name for one in roles}]
    known = {_name(role) for role in objects(document["roles"])}
    out: Document = {
        "granted_roles": [*_without(document["granted_roles"], roles), *_roles(roles)],
        "requested_roles": _without(document["requested_roles"], roles),
    }
    if document["digest_c"]:
        now = [role for role in waiting if _name(role) not in known]
        out["roles"] = [*objects(document["roles"]), *now]
    return out


def _without(stored: JSON, roles: Roles) -> list[JSON]:
    names = {role.name for role in roles}
    return [role for role in objects(stored) if _name(role) not in names]


def _name(role: Document) -> tuple[str, str]:
    return str(role["role"]), _party(role)


def _party(role: Document) -> str:
    return f"{role['country_code']}*{role['party_id']}"


def _connection(connection: PartnerConnection) -> Document:
    return {
        "ocpi_version": connection.version,
        "versions_url": connection.versions_url,
        "endpoints": [builtins(endpoint) for endpoint in connection.endpoints],
        "hub_party_id": connection.hub_party_id or None,
        "token_raw": connection.token_raw,
        "roles": _roles(connection.roles),
        "digest_c": connection.token_c.digest,
        "digest_pending": None,
        "handshake_error": None,
        "sealed_b": connection.token_b,
        "sealed_c": connection.token_c.sealed,
    }


def _roles(roles: Roles) -> list[JSON]:
    return [
        {
            "role": role.role,
            "country_code": role.country_code,
            "party_id": role.party_id,
            "business_details": builtins(role.business_details),
        }
        for role in roles
    ]


VIEW = View("partners", Partner.kind, "partners", target, evolve, dense=True)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "partners", "created_at"),
        index(HUB, "partners", "status", "created_at"),
        index(HUB, "partners", "digests"),
        index(HUB, "partners", "parties"),
        index(HUB, "partners", "receives"),
        index(HUB, "partners", "waiting", "created_at"),
    )
