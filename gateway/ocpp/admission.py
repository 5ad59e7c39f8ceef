"""Who may connect: an HTTP request for an upgrade enters, a connection or an HTTP refusal leaves.

404 for a charge point or tenant that is not known; 401 for a wrong password; 429 for a caller that asks or guesses
too often; 503 with Retry-After while the log is away, this process is full, too many wait for their turn, or two
devices fight for one id. A password that was right lately is known at once; any other is hashed in its turn, and only
so many are tried. The log hears of a connection before the upgrade is answered: one decision, which also takes in an
unknown charge point and keeps a new password. It never reads a frame.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import re
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol

from application.ports import DirectoryUnavailableError, QuotaUnavailableError, RegisteredChargePoint, Tenant
from commands.base import Meta, Refusal
from commands.charge_point import Connect, ConnectedReply
from domain.charge_point.passwords import is_heavy, is_key
from domain.errors import ChargeSphereError
from domain.knocking import Reason
from domain.values import UNASSIGNED, Site
from gateway.ocpp.client_address import neighbourhood
from gateway.ocpp.connection import ChargePointConnection
from gateway.ocpp.credentials import KEY_THREADS, WORD_THREADS, Credentials, parse_basic
from gateway.ocpp.handshake_queue import Appointments, CrowdedError, Turns
from gateway.ocpp.knocks import Knocks
from gateway.ocpp.limits import Buckets, Guesses
from gateway.ocpp.registry import Registry
from gateway.ocpp.services import Services
from gateway.ocpp.version import Version
from gateway.ocpp.versions import ASSUMED, VERSIONS, common
from streams.log import LogUnavailableError

logger = logging.getLogger(__name__)

OWN_CALLS_PER_SECOND = 10.0
"""How many of the charge points that connect together may be called by the system itself in a second."""
LONGEST_AWAY = 300.0
"""Seconds after which the last of a crowd may try again."""

_PATH = re.compile(r"/ocpp/(?:([^/]+)/)?([^/]+)\Z")
_TENANT = re.compile(r"[a-z0-9-]{1,32}")
_IDENTITY = re.compile(r"[^:\x00-\x1f\x7f]{1,48}")
_LISTED = frozenset(Reason)


class RefusedHandshakeError(ChargeSphereError):
    """The HTTP answer to a handshake that is not taken; `outcome` is its name in the metrics.

    `tenant` is whose charge point it would be, empty where nobody's.
    """

    def __init__(
        self, status: HTTPStatus, outcome: str, text: str, retry_after: int = 0, tenant: str = ""
    ) -> None:
        super().__init__(text)
        self.status = status
        self.outcome = outcome
        self.text = text
        self.retry_after = retry_after
        self.tenant = tenant


class _Visitor(NamedTuple):
    """Who somebody at the door says to be: `tenant` and `identity` are empty where the URL names none.

    `area` is what limits count an address by.
    """

    tenant: str
    identity: str
    address: str
    area: str
    basic: tuple[str, bytes] | None


class _Guest(NamedTuple):
    """Who is at the door, as it will be known inside.

    `site` is where to take it in, None for one that is known; `password_hash` the one to keep from now on, None where
    nothing changes.
    """

    tenant: Tenant
    listed: RegisteredChargePoint
    site: Site | None = None
    password_hash: str | None = None


class Admission:
    """Decides each handshake."""

    def __init__(
        self, services: Services, credentials: Credentials, registry: Registry, knocks: Knocks
    ) -> None:
        options = services.options
        self._services = services
        self._credentials = credentials
        self._registry = registry
        self._knocks = knocks
        self._addresses = Buckets(options.handshakes_per_address, options.handshake_burst)
        self._guesses = Guesses(options)
        self._numbers = itertools.count(1)
        self._hashing = {
            False: Turns(KEY_THREADS, most_waiting=options.most_hashes, each=0.01),
            True: Turns(WORD_THREADS, most_waiting=options.most_hashes, each=0.1),
        }
        self._turns = Turns(most_waiting=options.most_handshakes)
        self._returns = Appointments()
        self._own_calls = Appointments()

    async def admit(self, path: str, headers: Headers, address: str) -> ChargePointConnection | None:
        """The new current connection; None where there is no common subprotocol (J-04). Raises the refusal."""
        loop = asyncio.get_running_loop()
        visitor = _visitor(path, headers, address)
        try:
            if not self._addresses.take(visitor.area, loop.time()):
                raise self._wait(HTTPStatus.TOO_MANY_REQUESTS, Reason.TOO_OFTEN, "Too many handshakes.")
            self._see_room(loop.time())
            if visitor.tenant:
                self._see_decider(visitor.tenant, visitor.identity)
            return await self._admit(visitor, headers)
        except RefusedHandshakeError as refused:
            if refused.outcome in _LISTED:
                self._knocks.note(
                    refused.tenant, _name(visitor, refused.tenant, path), refused.outcome, address
                )
            raise
        except DirectoryUnavailableError:
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "store_away", "Try again later.") from None
        except LogUnavailableError:
            self._services.health.failed(loop.time())
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "log_away", "Try again later.") from None

    async def _admit(self, visitor: _Visitor, headers: Headers) -> ChargePointConnection | None:
        now = asyncio.get_running_loop().time()
        guest = await self._identify(visitor)
        tenant, id = guest.tenant, guest.listed.charge_point_id
        self._see_decider(tenant.id, id)
        version = _version(tenant, headers)
        if version is None:
            self._knocks.note(tenant.id, id, Reason.NO_SUBPROTOCOL, visitor.address)
            return None
        if self._registry.storming((tenant.id, id), now):
            logger.warning("charge point %s of %s: two devices seem to share this id", id, tenant.id)
            text = "Another device uses this identity."
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, Reason.STORM, text, tenant.id)
        try:
            async with self._turns.one():
                self._see_room(asyncio.get_running_loop().time())  # it may have waited for seconds
                return await self._connect(guest, version, visitor.address)
        except CrowdedError:
            raise self._crowded(self._turns) from None

    def _see_room(self, now: float) -> None:
        if len(self._registry) >= self._services.options.most_connections:
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "full", "Try again later.")
        if self._services.health.away(now):
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "log_away", "Try again later.")

    def _see_decider(self, tenant: str, charge_point_id: str) -> None:
        """What one partition is behind by puts off its own charge points only."""
        if self._services.busy(tenant, charge_point_id):
            raise self._crowded(self._turns, "busy")

    async def _identify(self, visitor: _Visitor) -> _Guest:
        """The charge point behind path and credentials."""
        tenant = await self._tenant(visitor)
        listed = await self._services.directory.charge_point(tenant.id, visitor.identity)
        if listed is None:
            return await self._unknown(tenant, visitor)
        if listed.password_hash or listed.alternative_hash:
            right = await self._right_hash(tenant, listed, visitor)
            if listed.alternative_hash:
                return _with_password(_Guest(tenant, listed), right)
        elif listed.automatic and listed.new and visitor.basic is not None:
            if visitor.basic[0] != listed.charge_point_id:
                raise _unauthorized(tenant)
            return _with_password(_Guest(tenant, listed), await self._hashed(visitor.basic[1]))
        return _Guest(tenant, listed)

    async def _tenant(self, visitor: _Visitor) -> Tenant:
        directory, found = self._services.directory, list[Tenant]()
        if visitor.identity and visitor.tenant:
            named = await directory.tenant(visitor.tenant) if _TENANT.fullmatch(visitor.tenant) else None
            found = [named] if named is not None else []
        elif visitor.identity:
            found = list(await directory.tenants_of(visitor.identity))
        if len(found) == 1:
            return found[0]
        raise _not_found(Reason.AMBIGUOUS if found else Reason.UNKNOWN)

    async def _right_hash(self, tenant: Tenant, listed: RegisteredChargePoint, visitor: _Visitor) -> str:
        """The stored text of the password that was given; empty where none is asked for."""
        basic, now = visitor.basic, asyncio.get_running_loop().time()
        charge_point = f"{tenant.id}|{listed.charge_point_id}"
        if basic is not None and basic[0] == listed.charge_point_id:
            stored = [text for text in (listed.password_hash, listed.alternative_hash) if text]
            known = {text: self._credentials.known(basic[1], text) for text in stored}
            right = next((text for text in stored if known[text]), "")
            new = [text for text in stored if known[text] is None]
            if not right and new:
                heavy = any(is_heavy(text) for text in new)
                guess = self._guesses.take(charge_point, visitor.area, now, heavy=heavy)
                if guess is None:
                    raise self._too_often(tenant)
                try:
                    right = await self._tried(basic[1], new, self._hashing[heavy])
                except CrowdedError:
                    guess.give_back(now)
                    raise self._crowded(self._hashing[heavy]) from None
                if not right:
                    raise _unauthorized(tenant)
                guess.give_back(now)
            if right:
                return right
        if not listed.password_hash:
            return ""
        if not self._guesses.may_repeat(charge_point, visitor.area, now):
            raise self._too_often(tenant)
        raise _unauthorized(tenant)

    async def _tried(self, password: bytes, stored: Sequence[str], turns: Turns) -> str:
        """Which of the stored texts is this password's, if any; each costs a hash. Raises CrowdedError."""
        async with turns.one():
            for text in stored:
                if await self._credentials.verify(password, text):
                    return text
        return ""

    async def _hashed(self, password: bytes) -> str:
        turns = self._hashing[not is_key(password)]
        try:
            async with turns.one():
                return await self._credentials.hash(password)
        except CrowdedError:
            raise self._crowded(turns) from None

    async def _unknown(self, tenant: Tenant, visitor: _Visitor) -> _Guest:
        """An unknown charge point of a tenant with `auto_register`; its first password is kept."""
        identity, basic = visitor.identity, visitor.basic
        wrong_user = basic is not None and basic[0] != identity
        if not tenant.auto_register or not tenant.active or wrong_user:
            raise _not_found(Reason.UNKNOWN, tenant)
        try:
            room = await self._services.quota.take(tenant.id)
        except QuotaUnavailableError:
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "failed", "Try again later.") from None
        if not room:
            raise _not_found(Reason.NO_ROOM, tenant)
        site = tenant.default_location or Site(id=UNASSIGNED, time_zone=tenant.settings.time_zone)
        guest = _Guest(tenant, RegisteredChargePoint(charge_point_id=identity, automatic=True), site)
        return guest if basic is None else _with_password(guest, await self._hashed(basic[1]))

    async def _connect(self, guest: _Guest, version: Version, address: str) -> ChargePointConnection:
        tenant, listed, channel = guest.tenant, guest.listed, self._services.channel
        now = asyncio.get_running_loop().time()
        # Decided later than its deadline, it would be a connection that nobody holds.
        meta = self._meta(tenant, listed.charge_point_id)
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
            asked_at=meta.at,
        )
        reply = await self._services.bus.ask(command, meta, self._patience)
        self._services.health.answered()
        if reply.refusal in (Refusal.UNKNOWN, Refusal.INVALID):
            raise _not_found(Reason.UNKNOWN, tenant)
        if reply.refusal in (Refusal.ALREADY_EXISTS, Refusal.CONFLICT):
            # Taken in or connected meanwhile, maybe with a password: the directory will know soon.
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "meanwhile", "Try again later.")
        if reply.refusal is not None:
            raise self._wait(HTTPStatus.SERVICE_UNAVAILABLE, "failed", "Try again later.")
        if guest.site is not None or guest.password_hash is not None:
            listed = msgspec.structs.replace(listed, new=False)
            self._services.directory.learn(tenant.id, listed)
        connected = msgspec.json.decode(reply.result, type=ConnectedReply)
        return ChargePointConnection(
            self._services,
            self._credentials,
            tenant,
            listed,
            connected,
            version,
        )

    @property
    def _patience(self) -> float:
        return self._services.options.handshake_patience

    def _meta(self, tenant: Tenant, charge_point_id: str) -> Meta:
        id = f"connect|{tenant.id}|{charge_point_id}|{self._services.channel.boot}|{next(self._numbers)}"
        at = self._services.clock()
        return Meta(
            command_id=id,
            at=at,
            tenant=tenant.id,
            correlation_id=id,
            principal=f"charge_point:{charge_point_id}",
            deadline=at + timedelta(seconds=self._patience),
        )

    def _wait(self, status: HTTPStatus, outcome: str, text: str, tenant: str = "") -> RefusedHandshakeError:
        """To be tried again after `retry_after` seconds, or up to twice as many: they should not all come at once."""
        least = self._services.options.retry_after
        return RefusedHandshakeError(status, outcome, f"{text}\n", random.randint(least, 2 * least), tenant)

    def _too_often(self, tenant: Tenant) -> RefusedHandshakeError:
        text = "Too many refused handshakes."
        return self._wait(HTTPStatus.TOO_MANY_REQUESTS, Reason.TOO_OFTEN, text, tenant.id)

    def _crowded(self, turns: Turns, outcome: str = "crowded") -> RefusedHandshakeError:
        """One of a crowd, each of which comes back at a moment of its own, as many in a second as have their turn."""
        now, least = asyncio.get_running_loop().time(), self._services.options.retry_after
        seconds = self._returns.next(now + least, turns.per_second) - now
        retry_after = math.ceil(min(seconds, LONGEST_AWAY) * random.uniform(1.0, 1.2))
        text = "Too many are waiting.\n"
        return RefusedHandshakeError(HTTPStatus.SERVICE_UNAVAILABLE, outcome, text, retry_after)


def _not_found(reason: Reason, tenant: Tenant | None = None) -> RefusedHandshakeError:
    whose = "" if tenant is None else tenant.id
    return RefusedHandshakeError(HTTPStatus.NOT_FOUND, reason, "Not found.\n", tenant=whose)


def _unauthorized(tenant: Tenant) -> RefusedHandshakeError:
    return RefusedHandshakeError(
        HTTPStatus.UNAUTHORIZED, Reason.UNAUTHORIZED, "Wrong credentials.\n", tenant=tenant.id
    )


def _visitor(path: str, headers: Headers, address: str) -> _Visitor:
    place = _PATH.match(path.partition("?")[0])
    given = headers.get_all("Authorization")
    return _Visitor(
        tenant=(place[1] or "") if place is not None else "",
        identity=_decoded(place[2]) if place is not None else "",
        address=address,
        area=neighbourhood(address),
        basic=parse_basic(given[0]) if len(given) == 1 else None,
    )


def _name(visitor: _Visitor, tenant: str, path: str) -> str:
    """What a list of refused handshakes calls it: nobody's charge point by all that its URL said."""
    if visitor.identity and (tenant or not visitor.tenant):
        return visitor.identity
    return path.partition("?")[0]


def _with_password(guest: _Guest, password_hash: str) -> _Guest:
    """The same one, with this password from now on."""
    listed = msgspec.structs.replace(guest.listed, password_hash=password_hash, alternative_hash="")
    return guest._replace(listed=listed, password_hash=password_hash)


def _version(tenant: Tenant, headers: Headers) -> Version | None:
    """The one that will be spoken; None where there is none in common."""
    offered = offered_subprotocols(headers)
    name = ASSUMED if not offered and tenant.assume_ocpp16 else common(offered)
    return None if name is None else VERSIONS[name]


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
