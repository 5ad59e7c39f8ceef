"""Who may connect: an HTTP request for an upgrade enters, a connection or an HTTP refusal leaves.

404 for a charge point or tenant that is not known, after as long as a wrong password takes; 401 for a wrong password;
429 for a caller that asks too often; 503 with Retry-After while the log is away, this process is full, too many wait
for their turn, or two devices fight for one id. The log hears of a connection before the upgrade is answered: one
decision, which also takes in an unknown charge point and keeps a new password. It never reads a frame.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import re
from datetime import timedelta
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol
from websockets.typing import Subprotocol

from commands.base import Meta, Refusal
from commands.charge_point import Connect, ConnectedReply
from domain.values import Site
from gateway.ocpp.connection import Connection
from gateway.ocpp.credentials import Credentials, parse_basic
from gateway.ocpp.limits import Buckets
from gateway.ocpp.ports import DirectoryUnavailableError, Listed, Tenant
from gateway.ocpp.registry import Registry
from gateway.ocpp.services import Services
from gateway.ocpp.turns import Appointments, CrowdedError, Turns
from streams.log import LogUnavailable

logger = logging.getLogger(__name__)

OCPP16 = Subprotocol("ocpp1.6")
OWN_CALLS_PER_SECOND = 10.0
"""How many of the charge points that connect together may be called by the system itself in a second."""
LONGEST_AWAY = 300.0
"""Seconds after which the last of a crowd may try again."""

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


class _Guest(NamedTuple):
    """Who is at the door, as it will be known inside.

    `site` is where to take it in, None for one that is known; `password_hash` the one to keep from now on, None where
    nothing changes.
    """

    tenant: Tenant
    listed: Listed
    site: Site | None = None
    password_hash: str | None = None


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
        self._turns = Turns(most_waiting=options.most_handshakes)
        self._returns = Appointments()
        self._own_calls = Appointments()

    async def admit(self, path: str, headers: Headers, address: str) -> Connection | None:
        """The new current connection; None where there is no common subprotocol (J-04). Raises the refusal."""
        loop = asyncio.get_running_loop()
        if not self._addresses.take(address, loop.time()):
            raise self._wait(HTTPStatus.TOO_MANY_REQUESTS, "too_often", "Too many handshakes.")
        self._see_room(loop.time())
        try:
            async with self._turns.one():
                self._see_room(loop.time())  # it may have waited for seconds
                return await self._identify(path, headers, address)
        except CrowdedError:
            raise self._come_back(loop.time(), "crowded") from None
        except DirectoryUnavailableError:
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "store_away", "Try again later.") from None
        except LogUnavailable:
            self._services.health.failed(loop.time())
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "log_away", "Try again later.") from None

    def _see_room(self, now: float) -> None:
        if len(self._registry) >= self._services.options.most_connections:
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "full", "Try again later.")
        if self._services.health.away(now):
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "log_away", "Try again later.")

    def _see_decider(self, tenant: str, charge_point_id: str) -> None:
        """What one partition is behind by puts off its own charge points only."""
        if self._services.busy(tenant, charge_point_id):
            raise self._come_back(asyncio.get_running_loop().time(), "busy")

    async def _identify(self, path: str, headers: Headers, address: str) -> Connection | None:
        caller = f"{address} {path[:200]}"
        now = asyncio.get_running_loop().time()
        if self._refusals.empty(caller, now):
            raise self._wait(HTTPStatus.TOO_MANY_REQUESTS, "too_often", "Too many refused handshakes.")
        place = _PATH.match(path.partition("?")[0])
        if place is not None and place[1]:
            self._see_decider(place[1], _decoded(place[2]))
        try:
            guest = await self._known(path, headers)
        except RefusedHandshakeError:
            self._refusals.take(caller, now)
            raise
        tenant, listed = guest.tenant, guest.listed
        self._see_decider(tenant.id, listed.charge_point_id)
        if not self._speaks_ocpp16(tenant, headers):
            return None
        if self._registry.storming((tenant.id, listed.charge_point_id), now):
            logger.warning(
                "charge point %s of %s: two devices seem to share this id", listed.charge_point_id, tenant.id
            )
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "storm", "Another device uses this identity.")
        return await self._connect(guest, address)

    async def _known(self, path: str, headers: Headers) -> _Guest:
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
                return await self._unknown(tenant, identity, basic)
        if tenant is None or listed is None:
            if basic is not None:
                await self._credentials.verify_nobody(basic[1])
            raise RefusedHandshakeError(HTTPStatus.NOT_FOUND, "unknown", "Not found.\n")
        if listed.password_hash or listed.alternative_hash:
            right = await self._right_hash(listed, basic)
            if listed.alternative_hash:
                return _with_password(_Guest(tenant, listed), right)
        elif listed.automatic and basic is not None:
            if basic[0] != listed.charge_point_id:
                raise RefusedHandshakeError(HTTPStatus.UNAUTHORIZED, "unauthorized", "Wrong credentials.\n")
            return _with_password(_Guest(tenant, listed), await self._credentials.hash(basic[1]))
        return _Guest(tenant, listed)

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

    async def _unknown(self, tenant: Tenant, identity: str, basic: tuple[str, bytes] | None) -> _Guest:
        """An unknown charge point of a tenant with `auto_register`; its first password is kept."""
        wrong_user = basic is not None and basic[0] != identity
        if (
            tenant.default_location is None
            or wrong_user
            or not await self._services.directory.has_room(tenant.id)
        ):
            raise RefusedHandshakeError(HTTPStatus.NOT_FOUND, "unknown", "Not found.\n")
        guest = _Guest(tenant, Listed(charge_point_id=identity, automatic=True), tenant.default_location)
        return guest if basic is None else _with_password(guest, await self._credentials.hash(basic[1]))

    async def _connect(self, guest: _Guest, address: str) -> Connection:
        tenant, listed, channel = guest.tenant, guest.listed, self._services.channel
        now = asyncio.get_running_loop().time()
        command = Connect(
            tenant=tenant.id,
            charge_point_id=listed.charge_point_id,
            node=channel.node,
            slot=channel.slot,
            boot=channel.boot,
            address=address,
            site=guest.site,
            password_hash=guest.password_hash,
            quiet_s=int(self._own_calls.next(now, OWN_CALLS_PER_SECOND) - now),
        )
        # Decided later than this, it would be a connection that nobody holds.
        meta = self._meta(tenant, listed.charge_point_id)
        reply = await self._services.bus.ask(command, meta, self._patience)
        self._services.health.answered()
        if reply.refusal in (Refusal.UNKNOWN, Refusal.INVALID):
            raise RefusedHandshakeError(HTTPStatus.NOT_FOUND, "unknown", "Not found.\n")
        if reply.refusal is Refusal.ALREADY_EXISTS:
            # Taken in meanwhile, maybe with a password: the directory will know soon.
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "meanwhile", "Try again later.")
        if reply.refusal is not None:
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "failed", "Try again later.")
        if guest.site is not None or guest.password_hash is not None:
            self._services.directory.learn(tenant.id, listed)
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

    def _meta(self, tenant: Tenant, charge_point_id: str) -> Meta:
        id = f"connect|{tenant.id}|{charge_point_id}|{self._services.channel.boot}|{next(self._numbers)}"
        at = self._services.clock.now()
        return Meta(
            command_id=id,
            at=at,
            tenant=tenant.id,
            correlation_id=id,
            principal=f"charge_point:{charge_point_id}",
            deadline=at + timedelta(seconds=self._patience),
        )

    def _wait(self, status: HTTPStatus, outcome: str, text: str) -> RefusedHandshakeError:
        """To be tried again after `retry_after` seconds, or up to twice as many: they should not all come at once."""
        least = self._services.options.retry_after
        return RefusedHandshakeError(status, outcome, f"{text}\n", random.randint(least, 2 * least))

    def _come_back(self, now: float, outcome: str) -> RefusedHandshakeError:
        """One of a crowd, each of which comes back at a moment of its own, as many in a second as have their turn."""
        least = self._services.options.retry_after
        seconds = self._returns.next(now + least, self._turns.per_second) - now
        retry_after = math.ceil(min(seconds, LONGEST_AWAY) * random.uniform(1.0, 1.2))
        text = "Too many are waiting.\n"
        return RefusedHandshakeError(HTTPStatus.SERVICE_UNAVAILABLE, outcome, text, retry_after)


def _with_password(guest: _Guest, password_hash: str) -> _Guest:
    """The same one, with this password from now on."""
    listed = msgspec.structs.replace(guest.listed, password_hash=password_hash, alternative_hash="")
    return guest._replace(listed=listed, password_hash=password_hash)


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
