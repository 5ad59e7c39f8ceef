"""Remote Trigger: asking a charge point to send a message now.

In: nothing. Out: a request and a confirmation type for each action.
"""

# No postponed annotations: msgspec reads them at import.
from protocols.ocpp.message import Confirmation, Integer, Request
from protocols.ocpp.v16.enums import MessageTrigger, TriggerMessageStatus


class TriggerMessageRequest(Request, frozen=True, kw_only=True):
    """Send this message now."""

    requested_message: MessageTrigger
    connector_id: Integer | None = None


class TriggerMessageConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to TriggerMessage."""

    status: TriggerMessageStatus
