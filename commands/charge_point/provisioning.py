"""Taking a charge point in, changing it, letting it go."""

from __future__ import annotations

from commands.base import Accepted, Meta, Outcome, Refusal, Rejected
from commands.charge_point.models import Change, Register, Remove, SetCredentials
from domain.charge_point import Changed, ChargePoint, CredentialsSet, Registered, Removed


def unknown(charge_point_id: str) -> Rejected:
    """The tenant does not know it."""
    return Rejected(Refusal.UNKNOWN, f"charge point {charge_point_id} is not known")


def register(charge_point: ChargePoint, command: Register, meta: Meta) -> Outcome:
    """A charge point that was removed comes back under its old counter of transaction ids."""
    if charge_point.state.provisioned:
        message = f"charge point {command.charge_point_id} is registered already"
        return Rejected(Refusal.ALREADY_EXISTS, message)
    charge_point.trigger(
        Registered,
        meta.at,
        tenant=command.tenant,
        charge_point_id=command.charge_point_id,
        site=command.site,
        evses=command.evses,
        automatic=command.automatic,
    )
    if command.password_hash:
        charge_point.trigger(CredentialsSet, meta.at, password_hash=command.password_hash)
    return Accepted()


def change(charge_point: ChargePoint, command: Change, meta: Meta) -> Outcome:
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    site = command.site if command.site is not None else state.site
    evses = command.evses if command.evses is not None else state.evses
    if (site, evses) != (state.site, state.evses):
        charge_point.trigger(Changed, meta.at, site=site, evses=evses)
    return Accepted()


def remove(charge_point: ChargePoint, command: Remove, meta: Meta) -> Outcome:
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    if state.open:
        running = ", ".join(str(number) for number in sorted(state.open))
        message = (
            f"charge point {command.charge_point_id} has running transactions ({running}): stop them first"
        )
        return Rejected(Refusal.NOT_ALLOWED, message)
    charge_point.trigger(Removed, meta.at)
    return Accepted()


def set_credentials(charge_point: ChargePoint, command: SetCredentials, meta: Meta) -> Outcome:
    if not charge_point.state.provisioned:
        return unknown(command.charge_point_id)
    charge_point.trigger(CredentialsSet, meta.at, password_hash=command.password_hash)
    return Accepted()
