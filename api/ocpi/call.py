"""One request as the modules see it, and the answer that they give."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from api.ocpi.ports import Ports
from commands.base import Meta
from projections.store import Document
from protocols.ocpi.envelope import Routing, StatusCode
from protocols.ocpi.types import JSON, OcpiModel

VERSIONS = ("2.3.0", "2.2.1")
SUSPENDED = "this platform is suspended at the hub"


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks, by which token: `full` (C), `register` (A) or `pending` (C of a handshake of ours under way)."""

    partner: Document
    kind: str
    digest: str
    presented: str = field(repr=False)

    @property
    def partner_id(self) -> str:
        return str(self.partner["_id"])

    @property
    def parties(self) -> frozenset[str]:
        """The parties that the partner speaks for, as `CC*PID`."""
        found = self.partner.get("parties")
        return frozenset(str(party) for party in found) if isinstance(found, list) else frozenset()

    @property
    def roles(self) -> frozenset[tuple[str, str]]:
        """(role, party as `CC*PID`) that the operator granted and the partner's credentials name."""
        roles = self.partner.get("roles")
        return frozenset(
            (str(role["role"]), f"{role['country_code']}*{role['party_id']}")
            for role in (roles if isinstance(roles, list) else [])
            if isinstance(role, dict)
        )

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The URLs of the partner's modules."""
        found = self.partner.get("endpoints")
        return tuple(
            str(one["url"]) for one in (found if isinstance(found, list) else []) if isinstance(one, dict)
        )

    @property
    def holder(self) -> str:
        """The partner in this life of its: what its parties' objects belong to."""
        return str(self.partner["holder"])

    @property
    def suspended(self) -> bool:
        return self.partner.get("suspended") is True

    @property
    def registered(self) -> bool:
        return bool(self.partner.get("digest_c"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request, authorized and within its limits. `segments` are percent-decoded."""

    ports: Ports
    method: str
    path: str
    version: str
    segments: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes
    access: Access
    routing: Routing
    request_id: str
    correlation_id: str
    at: datetime

    def meta(self) -> Meta:
        """Of the command that it becomes: the same request again has the same id, so that it is decided once."""
        digest = hashlib.sha256()
        for part in (
            self.access.partner_id,
            self.request_id,
            self.method,
            self.path,
            str(sorted(self.query.items())),
        ):
            digest.update(part.encode() + b"\x00")
        digest.update(self.body)
        return Meta(
            command_id=f"ocpi|{digest.hexdigest()[:40]}",
            at=self.at,
            correlation_id=self.correlation_id,
            principal=f"partner:{self.access.partner_id}",
        )

    @property
    def base(self) -> str:
        """The URL of this version, without a slash at its end."""
        return f"{self.ports.public_url}/ocpi/{self.version}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. `data` None is left out."""

    data: OcpiModel | list[OcpiModel] | JSON = None
    status_code: int = StatusCode.SUCCESS
    message: str | None = None
    http: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def invalid(message: str, http: int = 200) -> Answer:
    """OCPI 2001: something in the request is missing or wrong."""
    return Answer(status_code=StatusCode.INVALID_PARAMETERS, message=message, http=http)


def not_found(message: str) -> Answer:
    """HTTP 404 with OCPI 2001, for what does not exist or belongs to somebody else."""
    return invalid(message, 404)


def unknown_token(message: str) -> Answer:
    """HTTP 404 with OCPI 2004."""
    return Answer(status_code=StatusCode.UNKNOWN_TOKEN, message=message, http=404)


def refused(message: str) -> Answer:
    """HTTP 200 with OCPI 2000, for what the partner may not ask."""
    return Answer(status_code=StatusCode.CLIENT_ERROR, message=message)


def not_allowed(message: str, allowed: Iterable[str]) -> Answer:
    """HTTP 405 with OCPI 2000, and the methods that are allowed (RFC 9110, 15.5.6)."""
    headers = {"Allow": ", ".join(sorted(allowed))}
    return Answer(status_code=StatusCode.CLIENT_ERROR, message=message, http=405, headers=headers)
