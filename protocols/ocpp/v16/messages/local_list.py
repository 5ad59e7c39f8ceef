"""Local Auth List Management: the list of id tags inside a charge point.

In: nothing. Out: a request and a confirmation type for each action.
"""

# No postponed annotations: msgspec reads them at import.
from protocols.ocpp.message import Confirmation, Integer, Request
from protocols.ocpp.v16.enums import UpdateStatus, UpdateType
from protocols.ocpp.v16.messages.parts import AuthorizationData


class GetLocalListVersionRequest(Request, frozen=True, kw_only=True):
    """Which version of the local list do you hold?"""


class GetLocalListVersionConfirmation(Confirmation, frozen=True, kw_only=True):
    """0 means empty, -1 not supported."""

    list_version: Integer


class SendLocalListRequest(Request, frozen=True, kw_only=True):
    """Replace or change the local list."""

    list_version: Integer
    local_authorization_list: tuple[AuthorizationData, ...] | None = None
    update_type: UpdateType


class SendLocalListConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to SendLocalList."""

    status: UpdateStatus
