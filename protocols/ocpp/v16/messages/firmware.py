"""Firmware Management: firmware updates and diagnostics.

In: nothing. Out: a request and a confirmation type for each action.
"""

# No postponed annotations: msgspec reads them at import.
from protocols.ocpp.message import Confirmation, Instant, Integer, Request, Text255, Uri
from protocols.ocpp.v16.enums import DiagnosticsStatus, FirmwareStatus


class DiagnosticsStatusNotificationRequest(Request, frozen=True, kw_only=True):
    """How the upload of diagnostics goes."""

    status: DiagnosticsStatus


class DiagnosticsStatusNotificationConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to DiagnosticsStatusNotification."""


class FirmwareStatusNotificationRequest(Request, frozen=True, kw_only=True):
    """How the firmware update goes."""

    status: FirmwareStatus


class FirmwareStatusNotificationConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to FirmwareStatusNotification."""


class GetDiagnosticsRequest(Request, frozen=True, kw_only=True):
    """Upload diagnostics to this URI; `retry_interval` in seconds."""

    location: Uri
    retries: Integer | None = None
    retry_interval: Integer | None = None
    start_time: Instant | None = None
    stop_time: Instant | None = None


class GetDiagnosticsConfirmation(Confirmation, frozen=True, kw_only=True):
    """No `file_name` means that there is nothing to upload."""

    file_name: Text255 | None = None


class UpdateFirmwareRequest(Request, frozen=True, kw_only=True):
    """Fetch firmware from this URI at `retrieve_date`."""

    location: Uri
    retries: Integer | None = None
    retrieve_date: Instant
    retry_interval: Integer | None = None


class UpdateFirmwareConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to UpdateFirmware."""
