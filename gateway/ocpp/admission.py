"""Who may connect: an HTTP request for an upgrade enters, a connection or an HTTP refusal leaves.

404 for a charge point or tenant that is not known, after as long as a wrong password takes; 401 for a wrong password;
429 for a caller that asks too often; 503 with Retry-After while the log is away, this process is full, or two devices
fight for one id. The log hears of a connection before the upgrade is answered. It never reads a frame.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import unquote

import msgspec
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol
from websockets.typing import Subprotocol

from commands.base import Meta, Refusal
from commands.charge_point import Connect, ConnectedReply, Register, SetCredentials
from gateway.ocpp.connection import Connection
from gateway.ocpp.credentials import Credentials, parse_basic
from gateway.ocpp.limits import Buckets
from gateway.ocpp.ports import DirectoryUnavailableError, Listed, Tenant
from gateway.ocpp.registry import Registry
from gateway.ocpp.services import Services
from streams.log import LogUnavailable

logger = logging.getLogger(__name__)

OCPP16 = Subprotocol("ocpp1.6")
_PATH = re.compile(r"/ocpp/(?:([^/]+)/)?([^/]+)\Z")
_TENANT = re.compile(r"[a-z0-9-]{1,32}")
_IDENTITY = re.compile(r"[^:\x00-\x1f\x7f]{1,48}")


class RefusedHandshakeError(Exception):
    """The HTTP answer to a handshake that is not taken; `outcome` is its name in the metrics."""

    def __init__(self, status: HTTPStatus, outcome: str, text: str, retry_after: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.outcome = outcome
        self.text = text
        self.retry_after = retry_after


class Admission:
    """Decides each handshake."""

    def __init__(self, services: Services, credentials: Credentials, registry: Registry) -> None:
        options = services.options
        self._services = services
        self._credentials = credentials
        self._registry = registry
        self._addresses = Buckets(options.handshakes_per_address, options.handshake_burst)
        self._refusals = Buckets(options.refusals_per_caller, options.refusal_burst)
        self._numbers = itertools.count(1)
        self._pending = 0

    async def admit(self, path: str, headers: Headers, address: str) -> Connection | None:
        """The new current connection; None where there is no common subprotocol (J-04). Raises the refusal."""
        loop = asyncio.get_running_loop()
        if not self._addresses.take(address, loop.time()):
            raise self._wait(HTTPStatus.TOO_MANY_REQUESTS, "too_often", "Too many handshakes.")
        self._make_room(loop.time())
        self._pending += 1
        try:
            return await self._identify(path, headers, address)
        except DirectoryUnavailableError:
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "store_away", "Try again later.") from None
        except LogUnavailable:
            self._services.health.failed(loop.time())
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "log_away", "Try again later.") from None
        finally:
            self._pending -= 1

    def _make_room(self, now: float) -> None:
        options = self._services.options
        full = len(self._registry) >= options.most_connections or self._pending >= options.most_handshakes
        if full or self._services.busy():
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Try again later.")
        if self._services.health.away(now):
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "log_away", "Try again later.")

    async def _identify(self, path: str, headers: Headers, address: str) -> Connection | None:
        caller = f"{address} {path[:200]}"
        now = asyncio.get_running_loop().time()
        if self._refusals.empty(caller, now):
            raise self._wait(HTTPStatus.TOO_MANY_REQUESTS, "too_often", "Too many refused handshakes.")
        try:
            tenant, listed = await self._known(path, headers)
        except RefusedHandshakeError:
            self._refusals.take(caller, now)
            raise
        if not self._speaks_ocpp16(tenant, headers):
            return None
        if self._registry.storming((tenant.id, listed.charge_point_id), now):
            logger.warning(
                "charge point %s of %s: two devices seem to share this id", listed.charge_point_id, tenant.id
            )
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "storm", "Another device uses this identity.")
        return await self._connect(tenant, listed, address)

    async def _known(self, path: str, headers: Headers) -> tuple[Tenant, Listed]:
        """The charge point behind path and credentials."""
        given = headers.get_all("Authorization")
        basic = parse_basic(given[0]) if len(given) == 1 else None
        place = _PATH.match(path.partition("?")[0])
        tenant, identity = None, ""
        if place is not None:
            identity = _decoded(place[2])
            named = place[1]
            if identity and (named is None or _TENANT.fullmatch(named)):
                directory = self._services.directory
                tenant = await (directory.tenant(named) if named else directory.tenant_of(identity))
        listed = None
        if tenant is not None:
            listed = await self._services.directory.charge_point(tenant.id, identity)
            if listed is None and tenant.auto_register and tenant.active:
                return tenant, await self._take_in(tenant, identity, basic)
        if tenant is None or listed is None:
            if basic is not None:
                await self._credentials.verify_nobody(basic[1])
            raise RefusedHandshakeError(HTTPStatus.NOT_FOUND, "unknown", "Not found.\n")
        if listed.password_hash or listed.alternative_hash:
            right = await self._right_hash(listed, basic)
            if listed.alternative_hash:
                listed = await self._set_password(tenant, listed, right)
        elif listed.automatic and basic is not None:
            listed = await self._keep_password(tenant, listed, basic)
        return tenant, listed

    async def _right_hash(self, listed: Listed, basic: tuple[str, bytes] | None) -> str:
        """The stored text of the password that was given; empty where none is asked for."""
        if basic is not None and basic[0] == listed.charge_point_id:
            for stored in filter(None, (listed.password_hash, listed.alternative_hash)):
                if await self._credentials.verify(basic[1], stored):
                    return stored
        elif basic is not None and listed.password_hash:
            await self._credentials.verify(basic[1], listed.password_hash)
        if not listed.password_hash:
            return ""
        raise RefusedHandshakeError(HTTPStatus.UNAUTHORIZED, "unauthorized", "Wrong credentials.\n")

    async def _take_in(self, tenant: Tenant, identity: str, basic: tuple[str, bytes] | None) -> Listed:
        """An unknown charge point of a tenant with `auto_register`; its first password is kept."""
        wrong_user = basic is not None and basic[0] != identity
        if (
            tenant.default_location is None
            or wrong_user
            or not await self._services.directory.has_room(tenant.id)
        ):
            raise RefusedHandshakeError(HTTPStatus.NOT_FOUND, "unknown", "Not found.\n")
        password_hash = await self._credentials.hash(basic[1]) if basic is not None else ""
        command = Register(
            tenant=tenant.id,
            charge_point_id=identity,
            site=tenant.default_location,
            automatic=True,
            password_hash=password_hash,
        )
        reply = await self._services.bus.ask(
            command, self._meta(tenant, identity, "register"), self._patience
        )
        if reply.refusal is not None:
            # It was registered meanwhile, maybe with a password: the directory will know soon.
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "log_away", "Try again later.")
        listed = Listed(charge_point_id=identity, password_hash=password_hash, automatic=True)
        self._services.directory.learn(tenant.id, listed)
        return listed

    async def _keep_password(self, tenant: Tenant, listed: Listed, basic: tuple[str, bytes]) -> Listed:
        if basic[0] != listed.charge_point_id:
            raise RefusedHandshakeError(HTTPStatus.UNAUTHORIZED, "unauthorized", "Wrong credentials.\n")
        return await self._set_password(tenant, listed, await self._credentials.hash(basic[1]))

    async def _set_password(self, tenant: Tenant, listed: Listed, password_hash: str) -> Listed:
        listed = msgspec.structs.replace(listed, password_hash=password_hash, alternative_hash="")
        command = SetCredentials(
            tenant=tenant.id, charge_point_id=listed.charge_point_id, password_hash=password_hash
        )
        meta = self._meta(tenant, listed.charge_point_id, "password")
        await self._services.bus.ask(command, meta, self._patience)
        self._services.directory.learn(tenant.id, listed)
        return listed

    async def _connect(self, tenant: Tenant, listed: Listed, address: str) -> Connection:
        channel = self._services.channel
        command = Connect(
            tenant=tenant.id,
            charge_point_id=listed.charge_point_id,
            node=channel.node,
            slot=channel.slot,
            boot=channel.boot,
            address=address,
        )
        # Decided later than this, it would be a connection that nobody holds.
        meta = self._meta(tenant, listed.charge_point_id, "connect")
        meta = msgspec.structs.replace(meta, deadline=meta.at + timedelta(seconds=self._patience))
        reply = await self._services.bus.ask(command, meta, self._patience)
        self._services.health.answered()
        if reply.refusal is Refusal.UNKNOWN:
            raise RefusedHandshakeError(HTTPStatus.NOT_FOUND, "unknown", "Not found.\n")
        if reply.refusal is not None:
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "failed", "Try again later.")
        connected = msgspec.json.decode(reply.result, type=ConnectedReply)
        return Connection(
            self._services,
            self._credentials,
            tenant,
            listed,
            connected.epoch,
            connected.registration,
            connected.interval,
        )

    @property
    def _patience(self) -> float:
        return self._services.options.handshake_patience

    def _speaks_ocpp16(self, tenant: Tenant, headers: Headers) -> bool:
        offered = offered_subprotocols(headers)
        return OCPP16 in offered or (not offered and tenant.assume_ocpp16)

    def _meta(self, tenant: Tenant, charge_point_id: str, what: str) -> Meta:
        id = f"{what}|{tenant.id}|{charge_point_id}|{self._services.channel.boot}|{next(self._numbers)}"
        return Meta(
            command_id=id,
            at=self._services.clock.now(),
            tenant=tenant.id,
            correlation_id=id,
            principal=f"charge_point:{charge_point_id}",
        )

    def _wait(self, status: HTTPStatus, outcome: str, text: str) -> RefusedHandshakeError:
        return RefusedHandshakeError(status, outcome, f"{text}\n", self._services.options.retry_after)


def offered_subprotocols(headers: Headers) -> list[str]:
    """What the charge point offers, in its order; empty tokens are tolerated (J-05)."""
    try:
        return [
            name for value in headers.get_all("Sec-WebSocket-Protocol") for name in parse_subprotocol(value)
        ]
    except InvalidHeader:
        return []


def _decoded(segment: str) -> str:
    """The identity, percent-decoded once (J-01); empty where it cannot be one (J-02)."""
    try:
        identity = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return ""
    return identity if _IDENTITY.fullmatch(identity) else ""
