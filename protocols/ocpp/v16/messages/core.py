"""Core: boot, authorization, transactions, meter values, status, configuration and the plain commands.

In: nothing. Out: a request and a confirmation type for each action.
"""

# No postponed annotations: msgspec reads them at import.
from typing import Annotated

from msgspec import Meta

from protocols.ocpp.message import (
    Confirmation,
    Instant,
    Integer,
    Request,
    Text20,
    Text25,
    Text50,
    Text255,
    Text500,
)
from protocols.ocpp.v16.enums import (
    AvailabilityStatus,
    AvailabilityType,
    ChargePointErrorCode,
    ChargePointStatus,
    ClearCacheStatus,
    ConfigurationStatus,
    DataTransferStatus,
    Reason,
    RegistrationStatus,
    RemoteStartStopStatus,
    ResetStatus,
    ResetType,
    UnlockStatus,
)
from protocols.ocpp.v16.messages.parts import ChargingProfile, IdTagInfo, KeyValue, MeterReading, MeterValue


class AuthorizeRequest(Request, frozen=True, kw_only=True):
    """May this id tag charge?"""

    id_tag: Text20


class AuthorizeConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to Authorize."""

    id_tag_info: IdTagInfo


class BootNotificationRequest(Request, frozen=True, kw_only=True):
    """The charge point says what it is and asks to be registered."""

    charge_point_vendor: Text20
    charge_point_model: Text20
    charge_point_serial_number: Text25 | None = None
    charge_box_serial_number: Text25 | None = None
    firmware_version: Text50 | None = None
    iccid: Text20 | None = None
    imsi: Text20 | None = None
    meter_type: Text25 | None = None
    meter_serial_number: Text25 | None = None


class BootNotificationConfirmation(Confirmation, frozen=True, kw_only=True):
    """`interval` in seconds: of heartbeats when accepted, else before the next attempt."""

    status: RegistrationStatus
    current_time: Instant
    interval: Integer


class ChangeAvailabilityRequest(Request, frozen=True, kw_only=True):
    """Make a connector (0: all) operative or inoperative."""

    connector_id: Integer
    type: AvailabilityType


class ChangeAvailabilityConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to ChangeAvailability."""

    status: AvailabilityStatus


class ChangeConfigurationRequest(Request, frozen=True, kw_only=True):
    """Set one configuration key."""

    key: Text50
    value: Text500


class ChangeConfigurationConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to ChangeConfiguration."""

    status: ConfigurationStatus


class ClearCacheRequest(Request, frozen=True, kw_only=True):
    """Empty the authorization cache."""


class ClearCacheConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to ClearCache."""

    status: ClearCacheStatus


class DataTransferRequest(Request, frozen=True, kw_only=True):
    """Anything that a vendor agreed on; both ways."""

    vendor_id: Text255
    message_id: Text50 | None = None
    data: str | None = None


class DataTransferConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to DataTransfer."""

    status: DataTransferStatus
    data: str | None = None


class GetConfigurationRequest(Request, frozen=True, kw_only=True):
    """Report these configuration keys, or all."""

    key: tuple[Text50, ...] | None = None


class GetConfigurationConfirmation(Confirmation, frozen=True, kw_only=True):
    """What is known, and which keys are not."""

    configuration_key: tuple[KeyValue, ...] | None = None
    unknown_key: tuple[Text50, ...] | None = None


class HeartbeatRequest(Request, frozen=True, kw_only=True):
    """Still here; what time is it?"""


class HeartbeatConfirmation(Confirmation, frozen=True, kw_only=True):
    """The clock of the central system."""

    current_time: Instant


class MeterValuesRequest(Request, frozen=True, kw_only=True):
    """Samples of a connector (0: main meter)."""

    connector_id: Integer
    transaction_id: Integer | None = None
    meter_value: Annotated[tuple[MeterValue, ...], Meta(min_length=1)]


class MeterValuesConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to MeterValues."""


class RemoteStartTransactionRequest(Request, frozen=True, kw_only=True):
    """Start charging for this id tag."""

    connector_id: Integer | None = None
    id_tag: Text20
    charging_profile: ChargingProfile | None = None


class RemoteStartTransactionConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to RemoteStartTransaction."""

    status: RemoteStartStopStatus


class RemoteStopTransactionRequest(Request, frozen=True, kw_only=True):
    """End this transaction."""

    transaction_id: Integer


class RemoteStopTransactionConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to RemoteStopTransaction."""

    status: RemoteStartStopStatus


class ResetRequest(Request, frozen=True, kw_only=True):
    """Restart the charge point."""

    type: ResetType


class ResetConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to Reset."""

    status: ResetStatus


class StartTransactionRequest(Request, frozen=True, kw_only=True):
    """A transaction has begun; `meter_start` in Wh."""

    connector_id: Integer
    id_tag: Text20
    meter_start: Integer
    reservation_id: Integer | None = None
    timestamp: Instant


class StartTransactionConfirmation(Confirmation, frozen=True, kw_only=True):
    """Always a transaction id and a status (START-1)."""

    id_tag_info: IdTagInfo
    transaction_id: Integer


class StatusNotificationRequest(Request, frozen=True, kw_only=True):
    """State of a connector (0: the whole charge point)."""

    connector_id: Integer
    error_code: ChargePointErrorCode
    info: Text50 | None = None
    status: ChargePointStatus
    timestamp: Instant | None = None
    vendor_id: Text255 | None = None
    vendor_error_code: Text50 | None = None


class StatusNotificationConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to StatusNotification."""


class StopTransactionRequest(Request, frozen=True, kw_only=True):
    """A transaction has ended; `meter_stop` in Wh."""

    id_tag: Text20 | None = None
    meter_stop: Integer
    timestamp: Instant
    transaction_id: Integer
    reason: Reason | None = None
    transaction_data: tuple[MeterReading, ...] | None = None


class StopTransactionConfirmation(Confirmation, frozen=True, kw_only=True):
    """With `id_tag_info` only if an id tag was sent (STOP-2)."""

    id_tag_info: IdTagInfo | None = None


class UnlockConnectorRequest(Request, frozen=True, kw_only=True):
    """Release the cable."""

    connector_id: Integer


class UnlockConnectorConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to UnlockConnector."""

    status: UnlockStatus
