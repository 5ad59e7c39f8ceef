"""Handshakes of the credentials module: calling back in a partner's (Peers), and beginning our own (Handshakes).

Both fetch the other side's versions, choose the newest that both speak, and take its endpoints. What goes wrong is
a result with OCPI's status code: 3001 their API cannot be used, 3002 no mutual version, 3003 endpoints are missing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import uuid4

from application.ports import Bus, Vault
from commands.base import Command, Meta, Refusal
from commands.partner import (
    TOKEN_DIGEST,
    BeginHandshake,
    FailHandshake,
    Register,
    RequestRoles,
    Unregister,
    UpdateCredentials,
    hub_party_of,
    roles_of,
    vault_subject,
)
from domain.partner import Endpoint, PartnerConnection, Secret
from gateway.ocpi.client import OcpiClient, OcpiClientError, Peer
from gateway.ocpi.partners import Contact, PartnerBook, opened
from gateway.ocpi.url_policy import UrlRefusedError
from projections.store import HUB, ReadStore
from protocols.ocpi import OcpiInvalidError, dump, parse_each, parse_json, v2_2_1, v2_3_0
from protocols.ocpi.envelope import StatusCode
from protocols.ocpi.types import JSON, OcpiModel
from streams.log.envelope import Reply

logger = logging.getLogger(__name__)

VERSIONS: Final = ("2.3.0", "2.2.1")
"""What we speak, the newest first."""

ALIASES: Final = {"2.3": "2.3.0"}
_CREDENTIALS: Final[dict[str, type[v2_3_0.Credentials] | type[v2_2_1.Credentials]]] = {
    "2.3.0": v2_3_0.Credentials,
    "2.2.1": v2_2_1.Credentials,
}


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found at a versions URL. `status_code` is 1000, or why nothing can come of it (3001 to 3003)."""

    status_code: int
    message: str = ""
    version: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    token_raw: bool = False


class Peers:
    """The call back that a registration makes inside the open request."""

    def __init__(self, client: OcpiClient, *, timeout: float = 10.0) -> None:
        self._client = client
        self._timeout = timeout

    async def discover(self, versions_url: str, token: str, wanted: Sequence[str] = VERSIONS) -> Discovery:
        """The endpoints of the first of the `wanted` versions that is offered.

        The token is sent in Base64, and raw where that is not accepted (HTTP 401).
        """
        try:
            found, peer = await self._versions(versions_url, token)
            offered: dict[str, str] = {}
            for one in found:
                offered.setdefault(ALIASES.get(one.version, one.version), one.url)
            version = next((version for version in wanted if version in offered), "")
            if not version:
                return Discovery(
                    StatusCode.UNSUPPORTED_VERSION,
                    f"offered: {', '.join(sorted(offered)) or 'nothing'}; needed: {' or '.join(wanted)}",
                )
            details = await self._get(offered[version], peer)
            if not isinstance(details, dict):
                raise OcpiInvalidError("", "the version details are no object")
            endpoints, _ = parse_each(v2_3_0.Endpoint, details.get("endpoints"))
        except (OcpiClientError, UrlRefusedError) as error:
            return Discovery(StatusCode.UNABLE_TO_USE_CLIENT_API, str(error))
        except OcpiInvalidError as error:
            return Discovery(StatusCode.UNABLE_TO_USE_CLIENT_API, f"{versions_url[:100]}: {error}")
        if not any(endpoint.identifier == "credentials" for endpoint in endpoints):
            return Discovery(
                StatusCode.NO_MATCHING_ENDPOINTS, f"the details of {version} list no endpoint of credentials"
            )
        return Discovery(
            StatusCode.SUCCESS,
            version=version,
            endpoints=tuple(
                Endpoint(identifier=str(e.identifier), role=e.role.value, url=e.url) for e in endpoints
            ),
            token_raw=peer.token_raw,
        )

    async def _versions(self, url: str, token: str) -> tuple[tuple[v2_3_0.Version, ...], Peer]:
        peer = Peer(token)
        answer = await self._client.request("GET", url, peer, timeout=self._timeout)
        if answer.http_status == 401:
            peer = Peer(token, token_raw=True)
            answer = await self._client.request("GET", url, peer, timeout=self._timeout)
        versions, _ = parse_each(v2_3_0.Version, answer.expect().data)
        return versions, peer

    async def _get(self, url: str, peer: Peer) -> JSON:
        answer = await self._client.request("GET", url, peer, timeout=self._timeout)
        return answer.expect().data


OurCredentials = Callable[[str, str], Awaitable[OcpiModel]]
"""(version, token) → the credentials object by which a partner accesses us with this token."""

Visible = Callable[[str, str, str, int], Awaitable[object]]
"""(database, collection, id, version) → true once it can be read, or not true after a short while."""

LOOKS: Final = 10
"""How many such whiles a handshake waits until its token can be recognised: they call back with it."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a handshake of ours ended; `reason` says at which step and why, without secrets."""

    ok: bool
    reason: str = ""


class Handshakes:
    """Our side's beginnings: registration, new credentials (rotation), the end of a registration."""

    def __init__(
        self,
        client: OcpiClient,
        store: ReadStore,
        vault: Vault,
        bus: Bus,
        credentials: OurCredentials,
        visible: Visible,
        clock: Callable[[], datetime],
        new_token: Callable[[], str],
    ) -> None:
        self._client = client
        self._peers = Peers(client)
        self._store = store
        self._book = PartnerBook(store, vault)
        self._vault = vault
        self._bus = bus
        self._credentials = credentials
        self._visible = visible
        self._clock = clock
        self._new_token = new_token

    async def register(self, partner_id: str) -> Result:
        """The whole handshake with the token A and versions URL that the partner gave. Raises LogUnavailableError."""
        document = await self._store.get(HUB, "partners", partner_id)
        if document is None:
            return Result(False, f"there is no partner {partner_id}")
        if document.get("digest_c"):
            return Result(False, "it is registered already")
        url, token = document.get("versions_url"), await opened(self._vault, document.get("sealed_a"))
        if not isinstance(url, str) or not token:
            return Result(False, "the partner has no versions_url and token of theirs to begin with")
        return await self._exchange(partner_id, "POST", url, Peer(token))

    async def rotate(self, partner_id: str) -> Result:
        """New tokens both ways, and the newest version that both speak now. Raises LogUnavailableError."""
        contact, url = await self._known(partner_id)
        if contact is None:
            return Result(False, "it is not registered")
        return await self._exchange(partner_id, "PUT", url, contact.peer)

    async def unregister(self, partner_id: str) -> Result:
        """Ends the registration on both sides; ours ends whatever the partner answers. Raises LogUnavailableError."""
        contact, _ = await self._known(partner_id)
        if contact is None:
            return Result(False, "it is not registered")
        reason = "it names no endpoint of credentials"
        if url := contact.endpoint("credentials", "SENDER"):
            try:
                answer = await self._client.request("DELETE", url, contact.peer)
                reason = "" if answer.ok or answer.http_status in (401, 405) else answer.summary
            except (OcpiClientError, UrlRefusedError) as error:
                reason = str(error)
        reply = await self._ask(Unregister(partner_id=partner_id, initiator="us"))
        if reply.refusal is not None:
            return Result(False, reply.message)
        return Result(not reason, reason)

    async def _known(self, partner_id: str) -> tuple[Contact | None, str]:
        document = await self._store.get(HUB, "partners", partner_id)
        contact = await self._book.by_id(partner_id) if document else None
        return contact, str(document["versions_url"]) if document else ""

    async def _exchange(self, partner_id: str, method: str, versions_url: str, peer: Peer) -> Result:
        found = await self._peers.discover(versions_url, peer.token)
        if found.status_code != StatusCode.SUCCESS:
            return Result(False, f"versions: {found.status_code}: {found.message}")
        peer = Peer(peer.token, found.token_raw)
        token = self._new_token()
        secret = Secret(
            digest=self._vault.digest(TOKEN_DIGEST, token),
            sealed=await self._vault.seal(vault_subject(partner_id), token),
        )
        begun = await self._ask(BeginHandshake(partner_id=partner_id, token_c=secret, update=method == "PUT"))
        if begun.refusal is not None:
            return Result(False, begun.message)
        if await self._recognised(partner_id, begun.version):
            reason = await self._send(partner_id, method, found, peer, token, secret)
        else:
            reason = "the read models are behind: the partner could not call back; try again"
        if reason:
            await self._ask(FailHandshake(partner_id=partner_id, digest=secret.digest, reason=reason[:300]))
        return Result(not reason, reason)

    async def _recognised(self, partner_id: str, version: int) -> bool:
        for _ in range(LOOKS):
            if await self._visible(HUB, "partners", partner_id, version):
                return True
        return False

    async def _send(
        self, partner_id: str, method: str, found: Discovery, peer: Peer, token: str, secret: Secret
    ) -> str:
        """Our credentials go, theirs come; returns what went wrong."""
        url = next(e.url for e in found.endpoints if e.identifier == "credentials")
        ours = await self._credentials(found.version, token)
        try:
            answer = await self._client.request(method, url, peer, body=dump(ours), timeout=30.0)
        except (OcpiClientError, UrlRefusedError) as error:
            return f"credentials: {error}"
        if not answer.ok:
            return f"credentials: {answer.summary}"
        try:
            theirs = parse_json(_CREDENTIALS[found.version], answer.data)
            roles = roles_of(theirs)
        except OcpiInvalidError as error:
            return f"their credentials: {error}"
        connection = PartnerConnection(
            version=found.version,
            versions_url=theirs.url,
            endpoints=found.endpoints,
            roles=roles,
            hub_party_id=hub_party_of(theirs),
            token_b=await self._vault.seal(vault_subject(partner_id), theirs.token),
            token_c=secret,
            token_raw=found.token_raw,
        )
        done = await self._ask(
            Register(partner_id=partner_id, connection=connection, initiator="us")
            if method == "POST"
            else UpdateCredentials(partner_id=partner_id, connection=connection, initiator="us")
        )
        if done.refusal is Refusal.INVALID:
            await self._ask(RequestRoles(partner_id=partner_id, roles=roles))
            return f"their credentials: {done.message}"
        if done.refusal is not None:
            return done.message
        await self._visible(HUB, "partners", partner_id, done.version)
        return ""

    async def _ask(self, command: Command) -> Reply:
        meta = Meta(command_id=f"handshake|{uuid4()}", at=self._clock(), principal="hub")
        return await self._bus.ask(command, meta)
