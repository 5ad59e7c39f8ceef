"""What can be asked of a tenant: to exist, to be configured, to count its charge points, and how much room it has."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.fleet import Counts
from domain.tenant import (
    RESERVED,
    TENANT_ID,
    Configuration,
    PartCounts,
    Tenant,
    TenantConfigured,
    TenantCreated,
    TenantFleetCounted,
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


class CountPart(_OfTenant, frozen=True, kw_only=True, tag="tenant.count_part.v1"):
    """A part of the fleet has these numbers as of its `version`; an older word of it changes nothing."""

    recognised: ClassVar[bool] = True
    part: int
    version: int
    counts: Counts


class AskRoom(_OfTenant, frozen=True, kw_only=True, tag="tenant.ask_room.v1"):
    """How many more charge points it may have. Answered with `Room`, or refused UNKNOWN; decides nothing."""

    remembered: ClassVar[bool] = False


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """How many more an operator may register, and how many more may take themselves in."""

    for_operators: int
    for_strangers: int


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
        return _unknown(command)
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


def count_part(tenant: Tenant, command: CountPart, meta: Meta) -> Outcome:
    if not tenant.exists:
        return _unknown(command)
    known = tenant.state.fleet.get(command.part)
    if known is None or known.version < command.version:
        tenant.trigger(
            TenantFleetCounted,
            meta.at,
            part=command.part,
            part_counts=PartCounts(version=command.version, counts=command.counts),
            counts=tenant.state.counts_with(command.part, command.counts),
        )
    return Accepted()


def ask_room(tenant: Tenant, command: AskRoom, meta: Meta) -> Outcome:
    if not tenant.exists:
        return _unknown(command)
    state = tenant.state
    return Accepted(Room(for_operators=state.room_for_operators, for_strangers=state.room_for_strangers))


def _unknown(command: _OfTenant) -> Rejected:
    return Rejected(Refusal.UNKNOWN, f"there is no tenant {command.tenant[:40]}")


ROUTES: dict[type[Command], Route] = {
    CreateTenant: Route(Tenant, create),
    ConfigureTenant: Route(Tenant, configure),
    CountPart: Route(Tenant, count_part),
    AskRoom: Route(Tenant, ask_room),
}
