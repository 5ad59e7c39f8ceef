"""Reservations that somebody asks for, by REST or as a partner: checked, sealed, and decided by their charge point.

What enters: who asks, which connector, for which tag, until when. What leaves: the decision's reply, whose `result`
is a `commands.charge_point.Reserved`, or what is wrong with the request. What the charge point says follows as a
fact: `charge_point.reservation_confirmed` or `charge_point.reservation_ended`, with the asker's `reference`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from application.remote_commands import RemoteCommandPorts, sealed_in
from application.token_store import GROUP
from commands.base import Meta
from commands.charge_point import GiveUpReservation, Reserve
from commands.remote_command_rules import ParameterError, broken
from domain.intents import ReserveNow
from domain.values import Authorization
from streams.log.envelope import Reply

_NAMES: Final = {
    "parameters.connector_id": "connector",
    "parameters.id_tag": "id_tag",
    "parameters.parent_id_tag": "parent",
    "parameters.expiry_date": "expires_at",
}
"""Fields of the intent by the names of the request."""


async def reserve(
    ports: RemoteCommandPorts,
    meta: Meta,
    *,
    charge_point_id: str,
    connector_id: int,
    id_tag: str,
    expires_at: datetime,
    parent_id_tag: str | None = None,
    reference: str = "",
    override: bool = False,
) -> tuple[Reply | ParameterError, Authorization | None]:
    """The reply, and what is known of the tag where it came so far: UNKNOWN for a charge point that the tenant does
    not have, NOT_CONNECTED, NOT_ALLOWED where the charge point cannot or its connector is reserved. The same
    `reference` in the same words is answered the same, in other words it takes the former's place.

    Raises LogUnavailableError, StoreUnavailableError, DestroyedError."""
    tenant = meta.tenant
    asked = ReserveNow(
        connector_id=connector_id, expiry_date=expires_at, id_tag=id_tag, parent_id_tag=parent_id_tag
    )
    if (wrong := ports.fits(asked) or broken(asked, ports.clock())) is not None:
        return msgspec.structs.replace(wrong, path=_NAMES.get(wrong.path, wrong.path)), None
    tag, authorization = await ports.authorizer.resolve(tenant, charge_point_id, id_tag, True)
    sealed = await sealed_in(ports.vault, tenant, "charge_point", f"{tenant}|{charge_point_id}", asked)
    assert isinstance(sealed, ReserveNow)
    group = ports.vault.token_key(GROUP, parent_id_tag) if parent_id_tag else authorization.parent
    command = Reserve(
        tenant=tenant,
        charge_point_id=charge_point_id,
        connector_id=connector_id,
        id_tag=tag,
        sealed_tag=sealed.id_tag,
        sealed_parent=sealed.parent_id_tag,
        parent=group,
        expires_at=expires_at,
        reference=reference,
        override=override,
    )
    return await ports.bus.ask(command, meta), authorization


async def give_up(
    ports: RemoteCommandPorts,
    meta: Meta,
    *,
    charge_point_id: str,
    reservation_id: str = "",
    reference: str = "",
) -> Reply:
    """By its id, or by the reference under which it runs. The reply: UNKNOWN where there is none, else how it stands.

    Raises LogUnavailableError."""
    command = GiveUpReservation(
        tenant=meta.tenant,
        charge_point_id=charge_point_id,
        reservation_id=reservation_id,
        reference=reference,
    )
    return await ports.bus.ask(command, meta)
