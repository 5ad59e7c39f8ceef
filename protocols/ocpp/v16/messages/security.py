"""Security extension: certificates, signed firmware, security events and logs (whitepaper, edition 2).

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
    Text50,
    Text255,
    Text5500,
    Text10000,
)
from protocols.ocpp.v16.enums import (
    CertificateSignedStatus,
    CertificateUse,
    DeleteCertificateStatus,
    ExtendedMessageTrigger,
    GenericStatus,
    GetInstalledCertificateStatus,
    InstallCertificateStatus,
    LogStatus,
    LogType,
    SignedFirmwareStatus,
    SignedUpdateFirmwareStatus,
    TriggerMessageStatus,
    UploadLogStatus,
)
from protocols.ocpp.v16.messages.parts import CertificateHashData, Firmware, LogParameters


class CertificateSignedRequest(Request, frozen=True, kw_only=True):
    """Here is the certificate that you asked for."""

    certificate_chain: Text10000


class CertificateSignedConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to CertificateSigned."""

    status: CertificateSignedStatus


class DeleteCertificateRequest(Request, frozen=True, kw_only=True):
    """Remove an installed certificate."""

    certificate_hash_data: CertificateHashData


class DeleteCertificateConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to DeleteCertificate."""

    status: DeleteCertificateStatus


class ExtendedTriggerMessageRequest(Request, frozen=True, kw_only=True):
    """Send this message now, security messages included."""

    requested_message: ExtendedMessageTrigger
    connector_id: Integer | None = None


class ExtendedTriggerMessageConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to ExtendedTriggerMessage."""

    status: TriggerMessageStatus


class GetInstalledCertificateIdsRequest(Request, frozen=True, kw_only=True):
    """Which root certificates do you hold?"""

    certificate_type: CertificateUse


class GetInstalledCertificateIdsConfirmation(Confirmation, frozen=True, kw_only=True):
    """The hashes found."""

    certificate_hash_data: Annotated[tuple[CertificateHashData, ...], Meta(min_length=1)] | None = None
    status: GetInstalledCertificateStatus


class GetLogRequest(Request, frozen=True, kw_only=True):
    """Upload a log."""

    log: LogParameters
    log_type: LogType
    request_id: Integer
    retries: Integer | None = None
    retry_interval: Integer | None = None


class GetLogConfirmation(Confirmation, frozen=True, kw_only=True):
    """The name of the file to come."""

    status: LogStatus
    filename: Text255 | None = None


class InstallCertificateRequest(Request, frozen=True, kw_only=True):
    """Install a root certificate (PEM)."""

    certificate_type: CertificateUse
    certificate: Text5500


class InstallCertificateConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to InstallCertificate."""

    status: InstallCertificateStatus


class LogStatusNotificationRequest(Request, frozen=True, kw_only=True):
    """How the upload of a log goes."""

    status: UploadLogStatus
    request_id: Integer | None = None


class LogStatusNotificationConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to LogStatusNotification."""


class SecurityEventNotificationRequest(Request, frozen=True, kw_only=True):
    """Something that matters for security happened. The list of types is open."""

    type: Text50
    timestamp: Instant
    tech_info: Text255 | None = None


class SecurityEventNotificationConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to SecurityEventNotification."""


class SignCertificateRequest(Request, frozen=True, kw_only=True):
    """Please have this request (CSR, PEM) signed."""

    csr: Text5500


class SignCertificateConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to SignCertificate."""

    status: GenericStatus


class SignedFirmwareStatusNotificationRequest(Request, frozen=True, kw_only=True):
    """How the signed firmware update goes; `request_id` unless idle."""

    status: SignedFirmwareStatus
    request_id: Integer | None = None


class SignedFirmwareStatusNotificationConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to SignedFirmwareStatusNotification."""


class SignedUpdateFirmwareRequest(Request, frozen=True, kw_only=True):
    """Fetch, verify and install signed firmware."""

    retries: Integer | None = None
    retry_interval: Integer | None = None
    request_id: Integer
    firmware: Firmware


class SignedUpdateFirmwareConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to SignedUpdateFirmware."""

    status: SignedUpdateFirmwareStatus
