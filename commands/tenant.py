"""What can be asked of a tenant: to exist, and to be configured."""

from __future__ import annotations

from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.tenant import (
    RESERVED,
    TENANT_ID,
    Configuration,
    Tenant,
    TenantConfigured,
    TenantCreated,
    held_back,
    tenant_aggregate_id,
    wrong_in,
)


class _OfTenant(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.PARTY
    tenant: str

    @property
    def aggregate_id(self) -> str:
        return tenant_aggregate_id(self.tenant)


class CreateTenant(_OfTenant, frozen=True, kw_only=True, tag="tenant.create.v1"):
    """A new tenant; its id is `[a-z0-9-]{1,32}`. Its party, if any, was claimed in the directory before.

    With an `id_prefix` it names the number of its claim.
    """

    name: str
    configuration: Configuration = Configuration()
    prefix_claim: int = 0


class ConfigureTenant(_OfTenant, frozen=True, kw_only=True, tag="tenant.configure.v1"):
    """The whole configuration anew; what the platform grants changes only `by_platform`.

    Another `id_prefix` needs a newer claim than the one before.
    """

    configuration: Configuration
    prefix_claim: int = 0
    by_platform: bool = False


def create(tenant: Tenant, command: CreateTenant, meta: Meta) -> Outcome:
    if tenant.exists:
        return Rejected(Refusal.ALREADY_EXISTS, f"tenant {command.tenant} exists")
    if not TENANT_ID.fullmatch(command.tenant):
        return Rejected(Refusal.INVALID, f"id: must match [a-z0-9-]{{1,32}}, got {command.tenant[:40]!r}")
    if command.tenant in RESERVED:
        return Rejected(Refusal.INVALID, f"id: {command.tenant!r} is the platform's own; choose another one")
    if not command.name.strip():
        return Rejected(Refusal.INVALID, "name: must not be empty")
    if wrong := wrong_in(command.configuration):
        return Rejected(Refusal.INVALID, f"configuration.{wrong}")
    if command.configuration.id_prefix and not command.prefix_claim:
        return Rejected(Refusal.INVALID, "configuration.id_prefix: must be claimed before")
    tenant.trigger(
        TenantCreated,
        meta.at,
        tenant=command.tenant,
        name=command.name,
        configuration=command.configuration,
        prefix_claim=command.prefix_claim,
    )
    return Accepted()


def configure(tenant: Tenant, command: ConfigureTenant, meta: Meta) -> Outcome:
    if not tenant.exists:
        return Rejected(Refusal.UNKNOWN, f"there is no tenant {command.tenant[:40]}")
    if wrong := wrong_in(command.configuration):
        return Rejected(Refusal.INVALID, f"configuration.{wrong}")
    before, after, claim = tenant.state.configuration, command.configuration, 0
    held = held_back(before, after)
    if held and not command.by_platform:
        return Rejected(Refusal.NOT_ALLOWED, f"configuration.{held}: only the platform may change it")
    if after.id_prefix != before.id_prefix:
        claim = command.prefix_claim if after.id_prefix else tenant.state.prefix_claim
        if after.id_prefix and claim <= tenant.state.prefix_claim:
            return Rejected(Refusal.CONFLICT, "configuration.id_prefix: it was changed meanwhile")
    if after != before:
        tenant.trigger(TenantConfigured, meta.at, configuration=after, prefix_claim=claim)
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    CreateTenant: Route(Tenant, create),
    ConfigureTenant: Route(Tenant, configure),
}
