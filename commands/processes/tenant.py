"""A tenant has another prefix of ids → the directory lets go of what it does not need any more."""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Command, Meta, Policy
from commands.directory import ReleasePrefixes
from domain.aggregate import Event
from domain.directory import tenant_owner
from domain.tenant import TenantConfigured


def configured(event: TenantConfigured, meta: Meta) -> Sequence[Command]:
    if not event.prefix_claim:
        return ()
    owner = tenant_owner(event.originator_id.partition("|")[2])
    keep = event.configuration.id_prefix
    return (ReleasePrefixes(owner=owner, keep=keep, upto=event.prefix_claim),)


POLICIES: dict[type[Event], Policy] = {TenantConfigured: configured}
