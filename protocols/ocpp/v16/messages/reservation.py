"""Reservation: holding a connector for an id tag.

In: nothing. Out: a request and a confirmation type for each action.
"""

# No postponed annotations: msgspec reads them at import.
from protocols.ocpp.message import Confirmation, Instant, Integer, Request, Text20
from protocols.ocpp.v16.enums import CancelReservationStatus, ReservationStatus


class CancelReservationRequest(Request, frozen=True, kw_only=True):
    """Give up a reservation."""

    reservation_id: Integer


class CancelReservationConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to CancelReservation."""

    status: CancelReservationStatus


class ReserveNowRequest(Request, frozen=True, kw_only=True):
    """Hold a connector (0: any) until `expiry_date`."""

    connector_id: Integer
    expiry_date: Instant
    id_tag: Text20
    parent_id_tag: Text20 | None = None
    reservation_id: Integer


class ReserveNowConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to ReserveNow."""

    status: ReservationStatus
