"""Payloads of OCPP 1.6: bytes to messages and back.

In: an action and its payload. Out: `Decoded` (message, flags, raw bytes) or `WireError`; and bytes for a message of
ours. Decoders are built at import; a payload that fits its type costs one pass of one of them. Refusals are values:

| what is wrong | code |
| --- | --- |
| unknown action | NotImplemented |
| known action, but not from this side | NotSupported |
| not JSON, payload not an object, unknown field | FormationViolation |
| required field missing | ProtocolError |
| list shorter than it must be | OccurenceConstraintViolation |
| wrong JSON type, null included | TypeConstraintViolation |
| value outside its length, enumeration, range or format | PropertyConstraintViolation |

Of duplicate keys the last wins. `null` is a legal payload of an action without fields (J-11). Numbers are exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Generic, TypeVar

import msgspec

from protocols.ocpp.actions import Direction
from protocols.ocpp.message import (
    Confirmation,
    Decoded,
    ErrorCode,
    Mode,
    Part,
    Request,
    Tenths,
    WireError,
)
from protocols.ocpp.model import Kind, model_of
from protocols.ocpp.reading import read
from protocols.ocpp.scalars import Leniency, tenths
from protocols.ocpp.v16 import CONFIRMATIONS, DIRECTIONS, REQUESTS
from protocols.ocpp.v16.enums import ChargePointErrorCode, ReadingContext, Reason, UnitOfMeasure
from protocols.ocpp.v16.messages.parts import ChargingSchedule, ChargingSchedulePeriod, SampledValue

LENIENCY: Final = Leniency(
    aliases={UnitOfMeasure: {"hz": UnitOfMeasure.HERTZ, "%": UnitOfMeasure.PERCENT}},
    fallbacks={
        ChargePointErrorCode: ChargePointErrorCode.OTHER_ERROR,
        ReadingContext: ReadingContext.OTHER,
        Reason: Reason.OTHER,
    },
    indivisible=frozenset({SampledValue, ChargingSchedule, ChargingSchedulePeriod}),
)

M = TypeVar("M", bound=Part)


class UnsendableError(ValueError):
    """A message of ours that its own type refuses: a fault in the caller. `error` says what and where."""

    def __init__(self, error: WireError) -> None:
        super().__init__(f"{error.code.value}: {error.description}")
        self.error: Final = error


class _Codec(Generic[M]):
    """What reading and writing one type needs, made once."""

    __slots__ = ("dates", "decode", "empty", "has_dates", "type")

    def __init__(self, part: type[M]) -> None:
        model = model_of(part)
        names = sorted({field.wire for field in model.walk() if field.kind is Kind.INSTANT})
        self.type = part
        self.decode: Callable[[bytes], M] = msgspec.json.Decoder(
            part, dec_hook=tenths, float_hook=Decimal
        ).decode
        self.empty = not model.fields
        self.has_dates = bool(names)
        self.dates = re.compile(_DATE % "|".join(names).encode()) if names else None


# Quotes inside texts are escaped, so `"name":"` can only be the field itself.
_DATE = rb'("(?:%s)":")(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:(\.\d+)(Z|[+-]\d\d:\d\d)|([+-]\d\d:\d\d))"'
_SPACED = re.compile(rb" \d\d:\d\d")

_UNREADABLE: Final = (ValueError, ArithmeticError, RecursionError)


def _exact(text: str) -> Decimal:
    """A JSON number; what is beyond all exponents becomes NaN, which every field refuses under its own path."""
    try:
        return Decimal(text)
    except ArithmeticError:
        return Decimal("NaN")


_ANY = msgspec.json.Decoder(float_hook=_exact)


def _plain(value: object) -> object:
    if isinstance(value, Tenths):
        return Decimal(value)
    raise NotImplementedError


_ENCODER = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")

_REQUESTS: Final[Mapping[str, _Codec[Request]]] = {name: _Codec(part) for name, part in REQUESTS.items()}
_CONFIRMATIONS: Final[Mapping[str, _Codec[Confirmation]]] = {
    name: _Codec(part) for name, part in CONFIRMATIONS.items()
}
_BY_TYPE: Final[Mapping[type[Part], _Codec[Request] | _Codec[Confirmation]]] = {
    **{codec.type: codec for codec in _REQUESTS.values()},
    **{codec.type: codec for codec in _CONFIRMATIONS.values()},
}

ACTION_OF: Final[Mapping[type[Part], str]] = {
    part: name for table in (REQUESTS, CONFIRMATIONS) for name, part in table.items()
}
"""The action of a request or confirmation type."""


def decode_request(
    action: str,
    payload: bytes | msgspec.Raw,
    *,
    mode: Mode = Mode.STRICT,
    sender: Direction = Direction.FROM_CHARGE_POINT,
    received_at: datetime | None = None,
) -> Decoded[Request] | WireError:
    """Read the payload of a CALL that `sender` sent.

    `received_at` (with a zone): in lenient mode it replaces, flagged, a required date that is missing or unreadable,
    so that no transaction is lost for a broken clock.
    """
    codec = _REQUESTS.get(action)
    if codec is None:
        return WireError(ErrorCode.NOT_IMPLEMENTED, "the action is not known")
    if not DIRECTIONS[action].allows(sender):
        return WireError(ErrorCode.NOT_SUPPORTED, f"the {sender.value} does not send {action}")
    return _decode(codec, payload, mode, received_at)


def decode_confirmation(
    action: str, payload: bytes | msgspec.Raw, *, mode: Mode = Mode.STRICT
) -> Decoded[Confirmation] | WireError:
    """Read the payload of the CALLRESULT to a call of `action`."""
    codec = _CONFIRMATIONS.get(action)
    if codec is None:
        return WireError(ErrorCode.NOT_IMPLEMENTED, "the action is not known")
    return _decode(codec, payload, mode, None)


def encode(message: Request | Confirmation) -> bytes:
    """The payload of a message of ours: dates in UTC with at most milliseconds, absent fields left out.

    Checked against its own type, as nothing else checks what is built in Python. Raises UnsendableError.
    """
    codec = _BY_TYPE[type(message)]
    try:
        payload = _ENCODER.encode(message)
        if codec.dates is not None:
            payload = codec.dates.sub(_utc, payload)
        codec.decode(payload)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UnsendableError(_why_unsendable(codec, message)) from error
    return payload


def _decode(
    codec: _Codec[M], payload: bytes | msgspec.Raw, mode: Mode, received_at: datetime | None
) -> Decoded[M] | WireError:
    raw = bytes(payload)
    # Two things that the decoder lets pass and the standard does not: null for an absent field, a space for T.
    if b"null" not in raw and not (codec.has_dates and _SPACED.search(raw)):
        try:
            return Decoded(codec.decode(raw), (), raw)
        except _UNREADABLE:
            pass
    return _decode_slowly(codec, raw, mode, received_at)


def _decode_slowly(
    codec: _Codec[M], raw: bytes, mode: Mode, received_at: datetime | None
) -> Decoded[M] | WireError:
    try:
        value: object = _ANY.decode(raw)
    except _UNREADABLE:
        return WireError(ErrorCode.FORMATION_VIOLATION, "the payload is not JSON")
    flags: tuple[str, ...] = ()
    if value is None and codec.empty:
        value = {}
    elif mode is Mode.LENIENT and (value is None or value == []):
        value, flags = {}, ("$: empty value read as an object",)
    if not isinstance(value, dict):
        return WireError(ErrorCode.FORMATION_VIOLATION, "the payload is not an object")
    result = read(
        codec.type,
        value,
        leniency=LENIENCY if mode is Mode.LENIENT else None,
        received_at=received_at,
    )
    if isinstance(result, WireError):
        return result
    message, more = result
    return Decoded(message, flags + more, raw)


def _utc(match: re.Match[bytes]) -> bytes:
    """A date of ours in UTC with at most milliseconds, cut and not rounded: time never runs ahead."""
    name, moment, fraction, zone, bare_zone = match.groups()
    offset = zone or bare_zone
    seconds = moment.decode()
    if offset != b"Z":
        try:
            seconds = datetime.fromisoformat(f"{seconds}{offset.decode()}").astimezone(UTC).isoformat()[:19]
        except OverflowError:
            return match[0]
    milliseconds = (fraction or b"")[:4].rstrip(b"0").rstrip(b".")
    digits = milliseconds.ljust(4, b"0") if milliseconds else b""
    return b'%b%b%bZ"' % (name, seconds.encode(), digits)


def _why_unsendable(codec: _Codec[Request] | _Codec[Confirmation], message: Part) -> WireError:
    try:
        value = _ANY.decode(_ENCODER.encode(message))
    except (ValueError, TypeError, NotImplementedError):
        return WireError(ErrorCode.INTERNAL_ERROR, "a value cannot be written as JSON")
    result = read(codec.type, value)
    if isinstance(result, WireError):
        return result
    return WireError(ErrorCode.INTERNAL_ERROR, "the message does not fit its type")
