"""Taking a charge point in, changing it, letting it go; and learning what an automatic one has."""

from __future__ import annotations

from datetime import datetime

from commands.base import Accepted, Meta, Outcome, Refusal, Rejected
from commands.charge_point.models import (
    Change,
    Find,
    Found,
    OfferCredentials,
    Register,
    Remove,
    SetCredentials,
)
from commands.charge_point.reserving import end_all
from domain.charge_point import (
    ChargePoint,
    ChargePointChanged,
    ChargePointRegistered,
    ChargePointRemoved,
    CredentialsSet,
)
from domain.charge_point.identity import wrong_id
from domain.values import Connector, Evse

MOST_CONNECTORS = 32
"""A connector above this number is no reason to add an EVSE."""

_CONNECTOR = Connector(
    id="1",
    standard="IEC_62196_T2",
    format="SOCKET",
    power_type="AC_3_PHASE",
    max_voltage=230,
    max_amperage=32,
)


def unknown(charge_point_id: str) -> Rejected:
    """The tenant does not know it."""
    return Rejected(Refusal.UNKNOWN, f"charge point {charge_point_id} is not known")


def already_known(charge_point_id: str) -> Rejected:
    """It cannot be taken in a second time."""
    return Rejected(Refusal.ALREADY_EXISTS, f"charge point {charge_point_id} is registered already")


def misnamed(charge_point_id: str) -> Rejected | None:
    """Nobody chose this name that no URL of ours can carry: it is not taken in by itself."""
    wrong = wrong_id(charge_point_id)
    return Rejected(Refusal.INVALID, f"the id of a charge point {wrong}") if wrong else None


def register(charge_point: ChargePoint, command: Register, meta: Meta) -> Outcome:
    """A charge point that was removed comes back under its old counter of transaction ids."""
    state = charge_point.state
    if state.provisioned:
        return already_known(command.charge_point_id)
    moved_from, gone = state.left_behind(command.site, command.evses)
    charge_point.trigger(
        ChargePointRegistered,
        meta.at,
        tenant=command.tenant,
        charge_point_id=command.charge_point_id,
        site=command.site,
        evses=command.evses,
        automatic=command.automatic,
        moved_from=moved_from,
        gone=gone,
    )
    if command.password_hash:
        charge_point.trigger(CredentialsSet, meta.at, password_hash=command.password_hash)
    return Accepted()


def learn_connector(charge_point: ChargePoint, connector_id: int, at: datetime) -> None:
    """An automatic charge point named a connector: it has EVSEs up to that number, until an operator says more."""
    state = charge_point.state
    if not state.automatic or not len(state.evses) < connector_id <= MOST_CONNECTORS:
        return
    evses = tuple(
        Evse(uid=f"{state.charge_point_id}-{number}", connectors=(_CONNECTOR,))
        for number in range(len(state.evses) + 1, connector_id + 1)
    )
    charge_point.trigger(ChargePointChanged, at, site=state.site, evses=(*state.evses, *evses))


def change(charge_point: ChargePoint, command: Change, meta: Meta) -> Outcome:
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    site = command.site if command.site is not None else state.site
    evses = command.evses if command.evses is not None else state.evses
    if (site, evses) != (state.site, state.evses):
        taken_over = state.automatic and evses != state.evses
        moved_from, gone = state.left_behind(site, evses)
        charge_point.trigger(
            ChargePointChanged,
            meta.at,
            site=site,
            evses=evses,
            taken_over=taken_over,
            moved_from=moved_from,
            gone=gone,
        )
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
    end_all(charge_point, meta.at, "the charge point was removed")
    charge_point.trigger(ChargePointRemoved, meta.at, location_id=state.location_id)
    return Accepted()


def find(charge_point: ChargePoint, command: Find, meta: Meta) -> Outcome:
    """Decides nothing."""
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    if not command.session_id:
        return Accepted(Found())
    for transactions in (state.open, state.ended):
        for number, one in transactions.items():
            if one.session_id == command.session_id:
                return Accepted(Found(transaction_id=number))
    return Rejected(
        Refusal.UNKNOWN, f"no session {command.session_id} of charge point {command.charge_point_id}"
    )


def set_credentials(charge_point: ChargePoint, command: SetCredentials, meta: Meta) -> Outcome:
    if not charge_point.state.provisioned:
        return unknown(command.charge_point_id)
    charge_point.trigger(CredentialsSet, meta.at, password_hash=command.password_hash)
    return Accepted()


def offer_credentials(charge_point: ChargePoint, command: OfferCredentials, meta: Meta) -> Outcome:
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    if command.password_hash != state.alternative_hash:
        charge_point.trigger(
            CredentialsSet,
            meta.at,
            password_hash=state.password_hash,
            alternative_hash=command.password_hash,
        )
    return Accepted()
