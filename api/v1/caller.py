"""Who calls `/api/v1`, for which tenant, and how a write goes to the log: one `Caller` a request.

Authentication, the role, the tenant and its rate limit are settled before a route runs. A tenant that does not exist
and one that is somebody else's look alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Annotated, Final, TypeVar
from uuid import uuid4

import msgspec
from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.auth import verify_token
from api.problems import ProblemError, invalid, not_found, refused
from api.services import Services
from api.v1.scopes import scope_of
from application.key_text import PREFIX
from application.principal import BadTokenError, Principal
from application.read_back import wait_gone, wait_visible
from commands.base import Command, Meta, Refusal
from commands.remote_command_rules import ParameterError
from domain.access import Role
from domain.tenant import Configuration
from projections.moment import utc_text
from projections.store import Document, IndexSpec, Insert, expiry, tenant_database
from projections.tenant import configuration_of
from streams.log.envelope import Reply

PLATFORM_RATE: Final = 100
"""Requests a second of all platform admins that name no tenant."""

BAD_TOKENS: Final = 50
BAD_TOKENS_RATE: Final = 5
"""How many requests without a good token one address may send at once, and how many a second over time."""

IDEMPOTENCY: Final = "chargesphere_idempotency"
"""The database beside the read models that no rebuild drops."""
IDEMPOTENCY_S: Final = 86_400
"""How long an Idempotency-Key is remembered with its request, in seconds."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """`tenant` is None only for a platform admin that names none; `idempotency_key` is empty where none was sent.
    `stands`, for answers that last: raises BadTokenError once what it came with is good no more."""

    services: Services
    principal: Principal
    tenant: str | None
    configuration: Configuration | None
    idempotency_key: str
    fingerprint: Callable[[], Awaitable[str]]
    stands: Callable[[], Awaitable[Principal]]

    @property
    def by(self) -> str:
        """As it stands in the log."""
        return self.principal.by

    @property
    def own_tenant(self) -> str:
        """The tenant; a platform admin must have named one."""
        if self.tenant is None:
            raise invalid("query", "tenant", "name the tenant with ?tenant=")
        return self.tenant

    @property
    def settings(self) -> Configuration:
        """The tenant's configuration."""
        _ = self.own_tenant
        assert self.configuration is not None
        return self.configuration

    @property
    def database(self) -> str:
        return tenant_database(self.own_tenant)

    @property
    def sees_people(self) -> bool:
        """Whether id tags are shown to it."""
        return self.principal.role >= Role.OPERATOR

    async def meta(self, tenant: str | None = None) -> Meta:
        """What goes with the write that this request is. The same Idempotency-Key again is the same command, and a
        409 where it was another request."""
        services = self.services
        id = self.idempotency_key
        if id:
            # With its length in front: a subject may hold whatever stands between.
            id = services.vault.digest("idempotency", f"{self.tenant}|{len(self.by)}|{self.by}|{id}")
            mark = await self.fingerprint()
            document: Document = {"fingerprint": mark, "at": utc_text(services.clock())}
            await services.store.apply([Insert(IDEMPOTENCY, "idempotency", id, document)])
            kept = await services.store.get(IDEMPOTENCY, "idempotency", id)
            if kept is not None and kept["fingerprint"] != mark:
                raise ProblemError(
                    409, "this Idempotency-Key was used for another request", code=Refusal.CONFLICT.value
                )
            # The log knows a command for longer than this is kept: another request is another command for ever.
            id = services.vault.digest("idempotency", f"{id}|{mark}")
        return self._meta(self.tenant or "" if tenant is None else tenant, id)

    def repeatable(self) -> Meta:
        """What goes with a write that may be made once more, and must be: whatever its Idempotency-Key is, no earlier
        reply is its answer, and no store is asked."""
        return self._meta(self.tenant or "", "")

    def _meta(self, about: str, id: str) -> Meta:
        command_id = f"rest|{about}|{id or uuid4()}"
        now = self.services.clock()
        return Meta(command_id=command_id, at=now, tenant=about, correlation_id=command_id, principal=self.by)

    async def ask(self, command: Command, meta: Meta) -> Reply:
        """The decision's reply; a refusal is a problem."""
        return accepted(await self.services.bus.ask(command, meta))

    async def visible(self, db: str, collection: str, id: str, reply: Reply) -> Document | None:
        """The document as it is once the read store has the decision, or after the longest wait."""
        store = self.services.store
        await wait_visible(store, db, collection, id, reply.version, patience=self.services.visible_within)
        return await store.get(db, collection, id)

    async def gone(self, db: str, collection: str, id: str) -> None:
        """Wait until the document has gone, or for the longest wait."""
        await wait_gone(self.services.store, db, collection, id, patience=self.services.visible_within)


def indexes() -> tuple[IndexSpec, ...]:
    """What the API keeps of its own."""
    return (expiry(IDEMPOTENCY, "idempotency", "at", IDEMPOTENCY_S),)


def step_of(meta: Meta, step: str) -> Meta:
    """Another command of the same request."""
    return msgspec.structs.replace(meta, command_id=f"{meta.command_id}|{step}", causation_id=meta.command_id)


def accepted(outcome: Reply | ParameterError) -> Reply:
    """What was decided; what is wrong with a parameter, and a refusal, is a problem."""
    if isinstance(outcome, ParameterError):
        raise invalid("body", outcome.path, outcome.message)
    if outcome.refusal is not None:
        raise refused(outcome)
    return outcome


def result_of(reply: Reply, type: type[T]) -> T:
    """The result of an accepted decision."""
    return msgspec.json.decode(reply.result, type=type)


_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT or API key",
    description="A token, as `chargesphere token` prints one, or a key of `POST /api/v1/keys`. A key with scopes "
    "needs the one that is named at the route.",
)


def services_of(request: Request) -> Services:
    services = request.state.services
    assert isinstance(services, Services)
    return services


def _at_least(role: Role) -> Callable[..., Awaitable[Caller]]:
    async def caller(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        tenant: Annotated[str | None, Query(description="Which tenant; for platform admins only.")] = None,
    ) -> Caller:
        services = services_of(request)
        principal = await _authenticated(services, credentials, request)
        if principal.tenant is not None and tenant not in (None, principal.tenant):
            raise not_found(f"tenant {tenant}")
        about = principal.tenant or tenant
        document = await services.tenants.get(about) if about is not None else None
        if about is not None and document is None:
            raise not_found(f"tenant {about}")
        if document is not None and document["status"] != "active" and principal.tenant is not None:
            raise ProblemError(403, f"tenant {about} is {document['status']}")
        configuration = configuration_of(document) if document is not None else None
        await _limited(services, about, configuration)
        if principal.role < role:
            kind = principal.credential
            raise ProblemError(403, f"this needs the role {role.text}, the {kind} has {principal.role.text}")
        scope = scope_of(request.scope["route"].tags, request.method)
        if not principal.grant.allows(scope):
            scopes = ", ".join(principal.grant.scopes)
            raise ProblemError(403, f"this needs the scope {scope}, the key has {scopes}", code="scope")

        async def fingerprint() -> str:
            body = await request.body()
            return services.vault.digest(
                "request",
                f"{request.method} {request.url.path}?{request.url.query}\n{body.decode('latin-1')}",
            )

        return Caller(
            services,
            principal,
            about,
            configuration,
            _idempotency_key(request.headers.get("idempotency-key", "")),
            fingerprint,
            partial(_principal_of, services, credentials, address_of(request)),
        )

    return caller


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


async def _principal_of(
    services: Services, credentials: HTTPAuthorizationCredentials | None, address: str
) -> Principal:
    """Raises BadTokenError; LogUnavailableError and StoreUnavailableError where it cannot be told."""
    if credentials is None:
        raise BadTokenError("a token or a key is needed: Authorization: Bearer …")
    if credentials.credentials.startswith(PREFIX):
        return await services.credentials.of_key(credentials.credentials, address)
    principal = verify_token(credentials.credentials, services.jwt_keys, services.clock())
    await services.credentials.check_token(principal)
    return principal


async def _authenticated(
    services: Services, credentials: HTTPAuthorizationCredentials | None, request: Request
) -> Principal:
    """A good token passes whatever others try from the same address; bad ones are limited by address."""
    address = address_of(request)
    try:
        return await _principal_of(services, credentials, address)
    except BadTokenError as error:
        what = "too many requests without a good token"
        await take(services, f"api|unknown|{address}", BAD_TOKENS, BAD_TOKENS_RATE, what)
        raise ProblemError(401, str(error), headers={"WWW-Authenticate": "Bearer"}) from None


async def _limited(services: Services, tenant: str | None, configuration: Configuration | None) -> None:
    rate = configuration.api_rate_limit if configuration is not None else PLATFORM_RATE
    await take(services, f"api|{tenant or ''}", rate, rate, f"more than {rate} requests a second")


async def take(services: Services, bucket: str, capacity: float, rate: float, what: str) -> None:
    """One from a bucket of the rate limiter. Raises ProblemError, 429 with `what`, where it is empty."""
    verdict = await services.limiter.take(bucket, capacity, rate)
    if not verdict.allowed:
        wait = {"Retry-After": str(max(1, ceil(verdict.retry_after)))}
        raise ProblemError(429, what, headers=wait)


def _idempotency_key(value: str) -> str:
    if len(value) > 128 or not value.isprintable():
        raise invalid("header", "Idempotency-Key", "must have at most 128 printable characters")
    return value


Viewer = Annotated[Caller, Depends(_at_least(Role.VIEWER))]
Operator = Annotated[Caller, Depends(_at_least(Role.OPERATOR))]
TenantAdmin = Annotated[Caller, Depends(_at_least(Role.TENANT_ADMIN))]
PlatformAdmin = Annotated[Caller, Depends(_at_least(Role.PLATFORM_ADMIN))]
