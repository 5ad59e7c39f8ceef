"""What a charge point can be asked to do, in words of the field: a command before any version of OCPP says it.

Each intent is a value with its parameters; `kind` names it in the log. Texts that are personal or secret stand in it
sealed once it is in the log, so lengths and formats are no business of these types: they are those of the version
that the charge point speaks (`gateway/ocpp/v16`). Times have a zone.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, TypeAlias, get_args

from domain.schedules import ChargingProfile, Purpose, Unit
from domain.values import Value


class Feature(StrEnum):
    """What a charge point may or may not offer, by the names that OCPP gives its feature profiles."""

    CORE = "Core"
    FIRMWARE_MANAGEMENT = "FirmwareManagement"
    LOCAL_AUTH_LIST_MANAGEMENT = "LocalAuthListManagement"
    RESERVATION = "Reservation"
    SMART_CHARGING = "SmartCharging"
    REMOTE_TRIGGER = "RemoteTrigger"
    SECURITY = "Security"


class ResetKind(StrEnum):
    """Whether it ends what runs (Hard) or only stops it in good order first (Soft)."""

    HARD = "Hard"
    SOFT = "Soft"


class Availability(StrEnum):
    """Whether a connector may be used."""

    INOPERATIVE = "Inoperative"
    OPERATIVE = "Operative"


class ListUpdate(StrEnum):
    """Whether a local list takes the place of the one before, or changes it."""

    DIFFERENTIAL = "Differential"
    FULL = "Full"


class ListedStatus(StrEnum):
    """What a tag of a local list may."""

    ACCEPTED = "Accepted"
    BLOCKED = "Blocked"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    CONCURRENT_TX = "ConcurrentTx"


class Message(StrEnum):
    """What a charge point can be asked to say."""

    BOOT_NOTIFICATION = "BootNotification"
    DIAGNOSTICS_STATUS_NOTIFICATION = "DiagnosticsStatusNotification"
    FIRMWARE_STATUS_NOTIFICATION = "FirmwareStatusNotification"
    HEARTBEAT = "Heartbeat"
    LOG_STATUS_NOTIFICATION = "LogStatusNotification"
    METER_VALUES = "MeterValues"
    SIGN_CHARGE_POINT_CERTIFICATE = "SignChargePointCertificate"
    STATUS_NOTIFICATION = "StatusNotification"


class LogKind(StrEnum):
    """Which log is uploaded."""

    DIAGNOSTICS = "DiagnosticsLog"
    SECURITY = "SecurityLog"


class CertificateUse(StrEnum):
    """What a root certificate proves."""

    CENTRAL_SYSTEM_ROOT = "CentralSystemRootCertificate"
    MANUFACTURER_ROOT = "ManufacturerRootCertificate"


class HashAlgorithm(StrEnum):
    """How a certificate's hashes are made."""

    SHA256 = "SHA256"
    SHA384 = "SHA384"
    SHA512 = "SHA512"


class ListedTag(Value, frozen=True, kw_only=True):
    """What a local list says of a tag; no `expiry_date` means no end."""

    expiry_date: datetime | None = None
    parent_id_tag: str | None = None
    status: ListedStatus


class ListEntry(Value, frozen=True, kw_only=True):
    """A tag of a local list; without `id_tag_info` it is taken out."""

    id_tag: str
    id_tag_info: ListedTag | None = None


class LogTarget(Value, frozen=True, kw_only=True):
    """Where a log is uploaded to, and from which time."""

    remote_location: str
    oldest_timestamp: datetime | None = None
    latest_timestamp: datetime | None = None


class Firmware(Value, frozen=True, kw_only=True):
    """A signed image, and when it is fetched and installed."""

    location: str
    retrieve_date_time: datetime
    install_date_time: datetime | None = None
    signing_certificate: str
    signature: str


class CertificateHash(Value, frozen=True, kw_only=True):
    """Names an installed certificate."""

    hash_algorithm: HashAlgorithm
    issuer_name_hash: str
    issuer_key_hash: str
    serial_number: str


class _Intent(Value, frozen=True, kw_only=True, tag_field="kind", tag=""):
    """The base of intents. `feature` is what a charge point must offer for it."""

    feature: ClassVar[Feature] = Feature.CORE


class RemoteStart(_Intent, frozen=True, kw_only=True, tag="remote_start"):
    """Begin to charge for this tag, on this connector or on any."""

    connector_id: int | None = None
    id_tag: str
    charging_profile: ChargingProfile | None = None


class RemoteStop(_Intent, frozen=True, kw_only=True, tag="remote_stop"):
    """End this transaction."""

    transaction_id: int


class Reset(_Intent, frozen=True, kw_only=True, tag="reset"):
    """Begin anew."""

    type: ResetKind


class Unlock(_Intent, frozen=True, kw_only=True, tag="unlock"):
    """Let the cable go."""

    connector_id: int


class ChangeAvailability(_Intent, frozen=True, kw_only=True, tag="change_availability"):
    """Let a connector (0: all) be used, or not."""

    connector_id: int
    type: Availability


class SetVariable(_Intent, frozen=True, kw_only=True, tag="set_variable"):
    """Give a configuration variable this value."""

    key: str
    value: str


class GetVariables(_Intent, frozen=True, kw_only=True, tag="get_variables"):
    """Tell these configuration variables, or all."""

    keys: tuple[str, ...] | None = None


class ClearCache(_Intent, frozen=True, kw_only=True, tag="clear_cache"):
    """Forget which tags were accepted."""


class TriggerMessage(_Intent, frozen=True, kw_only=True, tag="trigger_message"):
    """Say this now."""

    feature = Feature.REMOTE_TRIGGER
    requested_message: Message
    connector_id: int | None = None


class TriggerSecurityMessage(_Intent, frozen=True, kw_only=True, tag="trigger_security_message"):
    """Say this now; the security extension's way, which knows its messages too."""

    feature = Feature.SECURITY
    requested_message: Message
    connector_id: int | None = None


class SendLocalList(_Intent, frozen=True, kw_only=True, tag="send_local_list"):
    """Keep these tags, so that they charge while we are away."""

    feature = Feature.LOCAL_AUTH_LIST_MANAGEMENT
    list_version: int
    local_authorization_list: tuple[ListEntry, ...] | None = None
    update_type: ListUpdate


class GetLocalListVersion(_Intent, frozen=True, kw_only=True, tag="get_local_list_version"):
    """Which local list do you hold?"""

    feature = Feature.LOCAL_AUTH_LIST_MANAGEMENT


class ReserveNow(_Intent, frozen=True, kw_only=True, tag="reserve_now"):
    """Hold a connector (0: any) for this tag until `expiry_date`. Where nobody gives a number, its charge point's
    decision does."""

    feature = Feature.RESERVATION
    connector_id: int
    expiry_date: datetime
    id_tag: str
    parent_id_tag: str | None = None
    reservation_id: int | None = None


class CancelReservation(_Intent, frozen=True, kw_only=True, tag="cancel_reservation"):
    """Give a reservation up."""

    feature = Feature.RESERVATION
    reservation_id: int


class SetChargingProfile(_Intent, frozen=True, kw_only=True, tag="set_charging_profile"):
    """Charge within these limits."""

    feature = Feature.SMART_CHARGING
    connector_id: int
    charging_profile: ChargingProfile


class ClearChargingProfile(_Intent, frozen=True, kw_only=True, tag="clear_charging_profile"):
    """Forget the profiles that match; no field means all."""

    feature = Feature.SMART_CHARGING
    id: int | None = None
    connector_id: int | None = None
    charging_profile_purpose: Purpose | None = None
    stack_level: int | None = None


class GetCompositeSchedule(_Intent, frozen=True, kw_only=True, tag="get_composite_schedule"):
    """Which limit will hold over the next `duration` seconds?"""

    feature = Feature.SMART_CHARGING
    connector_id: int
    duration: int
    charging_rate_unit: Unit | None = None


class UpdateFirmware(_Intent, frozen=True, kw_only=True, tag="update_firmware"):
    """Fetch and install firmware; `retry_interval` in seconds."""

    feature = Feature.FIRMWARE_MANAGEMENT
    location: str
    retries: int | None = None
    retrieve_date: datetime
    retry_interval: int | None = None


class SignedUpdateFirmware(_Intent, frozen=True, kw_only=True, tag="signed_update_firmware"):
    """Fetch, verify and install signed firmware; `retry_interval` in seconds."""

    feature = Feature.SECURITY
    retries: int | None = None
    retry_interval: int | None = None
    request_id: int
    firmware: Firmware


class GetDiagnostics(_Intent, frozen=True, kw_only=True, tag="get_diagnostics"):
    """Upload what helps to find a fault; `retry_interval` in seconds."""

    feature = Feature.FIRMWARE_MANAGEMENT
    location: str
    retries: int | None = None
    retry_interval: int | None = None
    start_time: datetime | None = None
    stop_time: datetime | None = None


class GetLog(_Intent, frozen=True, kw_only=True, tag="get_log"):
    """Upload a log; `retry_interval` in seconds."""

    feature = Feature.SECURITY
    log: LogTarget
    log_type: LogKind
    request_id: int
    retries: int | None = None
    retry_interval: int | None = None


class DataTransfer(_Intent, frozen=True, kw_only=True, tag="data_transfer"):
    """Whatever a vendor agreed on."""

    vendor_id: str
    message_id: str | None = None
    data: str | None = None


class CertificateSigned(_Intent, frozen=True, kw_only=True, tag="certificate_signed"):
    """Take the certificate that you asked for (PEM)."""

    feature = Feature.SECURITY
    certificate_chain: str


class InstallCertificate(_Intent, frozen=True, kw_only=True, tag="install_certificate"):
    """Trust this root certificate (PEM)."""

    feature = Feature.SECURITY
    certificate_type: CertificateUse
    certificate: str


class DeleteCertificate(_Intent, frozen=True, kw_only=True, tag="delete_certificate"):
    """Trust it no more."""

    feature = Feature.SECURITY
    certificate_hash_data: CertificateHash


class GetInstalledCertificateIds(_Intent, frozen=True, kw_only=True, tag="get_installed_certificate_ids"):
    """Which root certificates do you trust?"""

    feature = Feature.SECURITY
    certificate_type: CertificateUse


Intent: TypeAlias = (
    RemoteStart
    | RemoteStop
    | Reset
    | Unlock
    | ChangeAvailability
    | SetVariable
    | GetVariables
    | ClearCache
    | TriggerMessage
    | TriggerSecurityMessage
    | SendLocalList
    | GetLocalListVersion
    | ReserveNow
    | CancelReservation
    | SetChargingProfile
    | ClearChargingProfile
    | GetCompositeSchedule
    | UpdateFirmware
    | SignedUpdateFirmware
    | GetDiagnostics
    | GetLog
    | DataTransfer
    | CertificateSigned
    | InstallCertificate
    | DeleteCertificate
    | GetInstalledCertificateIds
)
INTENTS: tuple[type[Intent], ...] = get_args(Intent)


def kind_of(intent: Intent) -> str:
    """Its name in the log: `remote_start`."""
    return str(intent.__struct_config__.tag)
