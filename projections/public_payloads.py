"""The payloads of the public topics, kept for ever: their fields, types and descriptions are the contract."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec


def _is(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


Time = Annotated[str, _is("UTC, ISO 8601, ending in `Z`")]
Price = dict[str, Any]


TOKEN_OWNER = _is("as on the tokens topic: `NL*EMS` for an eMSP, `tenant:demo` for a tenant's own tag")
TOKEN_KEY = _is("as on the tokens topic: a keyed hash of type and uid, equal for equal tokens")
PROVISIONAL = _is("the charge point did not report this end itself: its word may still correct it")
CHARGE_POINT = _is("where the charge is, or was")
TOKEN_TYPE = _is("OCPI TokenType; null for a tag that nobody knew")


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every payload: JSON objects in which absent values are null."""


class SessionStarted(Payload, frozen=True, kw_only=True):
    """A charge began. OCPI Session facts; the token by its keyed hash. Times of a session are by our clock."""

    session_id: str
    country_code: Annotated[str, _is("of the CPO, as `party_id`")]
    party_id: str
    charge_point_id: str
    connector_id: Annotated[int, _is("OCPP's number")]
    location_id: str
    evse_uid: str
    evse_id: Annotated[str | None, _is("eMI3 id")]
    start_date_time: Time
    meter_start_wh: int
    currency: Annotated[str, _is("ISO 4217")]
    auth_method: Annotated[str, _is("OCPI AuthMethod")]
    authorization_reference: str | None
    owner: Annotated[str | None, _is("the eMSP that pays, such as `NL*EMS`; null for a tenant's own tag")]
    token_owner: Annotated[str, TOKEN_OWNER]
    token_key: Annotated[str, TOKEN_KEY]
    token_type: Annotated[str | None, TOKEN_TYPE]
    status: Annotated[str, _is("OCPI SessionStatus; `INVALID` where the tag was not accepted")]


class SessionUpdated(Payload, frozen=True, kw_only=True):
    """Energy and cost so far, of the whole session."""

    session_id: str
    charge_point_id: Annotated[str, CHARGE_POINT]
    kwh: float
    total_cost: Annotated[Price | None, _is("OCPI Price")]
    last_updated: Time


class SessionEnded(Payload, frozen=True, kw_only=True):
    """The charge is over. Its CDR comes on the CDR topic."""

    session_id: str
    charge_point_id: Annotated[str, CHARGE_POINT]
    start_date_time: Annotated[str, _is("by what is known of the charge point's clock now")]
    end_date_time: Time
    meter_stop_wh: int
    kwh: float
    total_cost: Annotated[Price | None, _is("OCPI Price")]
    reason: Annotated[str, _is("OCPP's Reason")]
    status: Annotated[str, _is("`COMPLETED`, or `INVALID` as at the start")]
    provisional: Annotated[bool, PROVISIONAL]


class SessionEndCorrected(Payload, frozen=True, kw_only=True):
    """The end is known better: what a provisional end said is void. Its CDR is credited and another issued, both on
    the CDR topic."""

    session_id: str
    charge_point_id: Annotated[str, CHARGE_POINT]
    start_date_time: Time
    end_date_time: Time
    meter_stop_wh: int
    kwh: float
    total_cost: Annotated[Price | None, _is("OCPI Price")]
    reason: Annotated[str, _is("OCPP's Reason")]
    status: Annotated[str, _is("`COMPLETED`, or `INVALID` as at the start")]
    provisional: Annotated[bool, PROVISIONAL]


class CdrIssued(Payload, frozen=True, kw_only=True):
    """One charge, priced. The same id never comes with another body; a correction is a credit CDR of its own."""

    cdr_id: str
    charge_point_id: Annotated[str, CHARGE_POINT]
    owner: Annotated[str | None, _is("the eMSP that pays; null for a tenant's own tag")]
    token_owner: Annotated[str, TOKEN_OWNER]
    token_key: Annotated[str, TOKEN_KEY]
    token_type: Annotated[str | None, TOKEN_TYPE]
    cdr: Annotated[dict[str, Any], _is("OCPI 2.3.0 CDR without `cdr_token`")]
    explanation: Annotated[list[str], _is("how each amount came about, for a person")]
    warnings: list[str]


class CdrWithheld(Payload, frozen=True, kw_only=True):
    """The charge is over and has no CDR yet: it has no price, or OCPI does not allow it. It is issued under this id
    once that is mended."""

    cdr_id: str
    session_id: str
    charge_point_id: Annotated[str, CHARGE_POINT]
    field: Annotated[
        str, _is("what stands in its way: a path in the CDR, or `meter_start`, `meter_stop`, `time_zone`")
    ]
    value: Annotated[str, _is("of the field, in at most 40 characters")]
    reason: Annotated[str, _is("one line for a person")]


class TokenPut(Payload, frozen=True, kw_only=True):
    """A token is now like this. Neither its uid nor anything of a person is here."""

    owner: Annotated[str, _is("`NL*EMS` for an eMSP, `tenant:demo` for a tenant")]
    key: Annotated[str, _is("a keyed hash of type and uid: equal for equal tokens")]
    type: Annotated[str, _is("OCPI TokenType")]
    valid: bool
    whitelist: Annotated[str | None, _is("OCPI WhitelistType, for an eMSP's token")]
    status: Annotated[str | None, _is("Accepted, Blocked or Expired, for a tenant's tag")]
    expiry_date: Time | None
    last_updated: Time


class TokenRemoved(Payload, frozen=True, kw_only=True):
    """A tenant took its tag away."""

    owner: str
    key: str


class TokenAuthorized(Payload, frozen=True, kw_only=True):
    """Somebody was told whether it may charge, by its owner in real time or in a command, or by what is stored."""

    owner: str
    key: str
    allowed: Annotated[str, _is("OCPI AllowedType")]
    authorization_reference: str | None
    charge_point_id: str | None
    location_id: str | None
    asked_by: Annotated[str | None, _is("the CPO of another platform that asked, `FR*ELC`")]


class ChargePointConnected(Payload, frozen=True, kw_only=True):
    """A websocket was opened; the one before it does not count any more."""

    charge_point_id: str
    connection: Annotated[int, _is("numbers the connections, rising")]


class ChargePointDisconnected(Payload, frozen=True, kw_only=True):
    """The current websocket is gone."""

    charge_point_id: str
    connection: int
    reason: str


class ChargePointBooted(Payload, frozen=True, kw_only=True):
    """BootNotification and how it was answered."""

    charge_point_id: str
    vendor: str
    model: str
    serial_number: str | None
    firmware_version: str | None
    status: Annotated[str, _is("Accepted, Pending or Rejected")]


class ChargePointStatus(Payload, frozen=True, kw_only=True):
    """StatusNotification. `stale`: a newer one of this connector is known already."""

    charge_point_id: str
    connector_id: Annotated[int, _is("0 is the charge point itself")]
    status: Annotated[str, _is("the nine of OCPP 1.6")]
    error_code: str
    info: str | None
    vendor_id: str | None
    vendor_error_code: str | None
    session_id: Annotated[str | None, _is("of the charge that runs there")]
    reported_at: Annotated[str, _is("by the charge point's clock")]
    happened_at: Annotated[str, _is("by ours")]
    stale: bool


class MeterValues(Payload, frozen=True, kw_only=True):
    """Readings of one message, in base units. `value` is null where `signed` or `raw` holds what was sent."""

    charge_point_id: str
    connector_id: int
    transaction_id: int | None
    session_id: str | None
    clock_offset_s: Annotated[
        int, _is("seconds that the charge point's clock runs ahead; the readings' times are by ours")
    ]
    readings: Annotated[
        list[dict[str, Any]],
        _is("`timestamp measurand value unit phase context location`, and `signed` or `raw`"),
    ]
