"""Payloads to messages and back, for the tables of any one version.

In: an action and its payload. Out: `Decoded` (message, flags, raw bytes) or `WireError`; and bytes for a message of
ours. Everything that can be made once is made with the `Codec`: a payload that fits its type costs one pass of a
prebuilt decoder, and only one that does not is read slowly, field by field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Generic, TypeVar

import msgspec

from domain.errors import ChargeSphereError
from protocols.ocpp.actions import Direction
from protocols.ocpp.message import Confirmation, Decoded, ErrorCode, Mode, Part, Request, Tenths, WireError
from protocols.ocpp.model import Kind, model_of
from protocols.ocpp.parsing import read
from protocols.ocpp.scalars import Leniency, tenths

M = TypeVar("M", bound=Part)

_SPACE: Final = 32
_SPACED = re.compile(rb" \d\d:\d\d")
_UNREADABLE: Final = (ValueError, ArithmeticError, RecursionError)


class UnsendableError(ChargeSphereError, ValueError):
    """A message of ours that its own type refuses: a fault in the caller. `error` says what and where."""

    def __init__(self, error: WireError) -> None:
        super().__init__(f"{error.code.value}: {error.description}")
        self.error: Final = error


class _Form(Generic[M]):
    """What reading and writing one type needs, made once."""

    __slots__ = ("date_keys", "decode", "empty", "type")

    def __init__(self, part: type[M]) -> None:
        model = model_of(part)
        self.type = part
        self.decode: Callable[[bytes], M] = msgspec.json.Decoder(
            part, dec_hook=tenths, float_hook=Decimal
        ).decode
        self.empty = not model.fields
        # Quotes inside texts are escaped, so `"name":"` can only be the field itself.
        names = sorted({field.wire for field in model.walk() if field.kind is Kind.INSTANT})
        self.date_keys = tuple(f'"{name}":"'.encode() for name in names)


class Codec:
    """The codec of one version: its tables of requests, confirmations and directions, and what it forgives."""

    def __init__(
        self,
        requests: Mapping[str, type[Request]],
        confirmations: Mapping[str, type[Confirmation]],
        directions: Mapping[str, Direction],
        leniency: Leniency,
    ) -> None:
        self._requests = {name: _Form(part) for name, part in requests.items()}
        self._from_charge_point, self._from_central_system = (
            {name: form for name, form in self._requests.items() if directions[name].allows(sender)}
            for sender in (Direction.FROM_CHARGE_POINT, Direction.FROM_CENTRAL_SYSTEM)
        )
        self._confirmations = {name: _Form(part) for name, part in confirmations.items()}
        self._forms: dict[type[Part], _Form[Request] | _Form[Confirmation]] = {
            **{form.type: form for form in self._requests.values()},
            **{form.type: form for form in self._confirmations.values()},
        }
        self._leniency = leniency

    def decode_request(
        self,
        action: str,
        payload: bytes | msgspec.Raw,
        *,
        mode: Mode = Mode.STRICT,
        sender: Direction = Direction.FROM_CHARGE_POINT,
        received_at: datetime | None = None,
    ) -> Decoded[Request] | WireError:
        """Read the payload of a CALL that `sender` sent.

        `received_at` (with a zone): in lenient mode it replaces, flagged, a required date that is missing or
        unreadable, so that no transaction is lost for a broken clock.
        """
        if sender is Direction.FROM_CHARGE_POINT:
            form = self._from_charge_point.get(action)
        else:
            form = self._from_central_system.get(action)
        if form is None:
            if action in self._requests:
                return WireError(ErrorCode.NOT_SUPPORTED, f"the {sender.value} does not send {action}")
            return WireError(ErrorCode.NOT_IMPLEMENTED, "the action is not known")
        return self._decode(form, payload, mode, received_at)

    def decode_confirmation(
        self, action: str, payload: bytes | msgspec.Raw, *, mode: Mode = Mode.STRICT
    ) -> Decoded[Confirmation] | WireError:
        """Read the payload of the CALLRESULT to a call of `action`."""
        form = self._confirmations.get(action)
        if form is None:
            return WireError(ErrorCode.NOT_IMPLEMENTED, "the action is not known")
        return self._decode(form, payload, mode, None)

    def encode(self, message: Request | Confirmation) -> bytes:
        """The payload of a message of ours: dates in UTC with at most milliseconds, absent fields left out.

        Checked against its own type, as nothing else checks what is built in Python. Raises UnsendableError.
        """
        form = self._forms[type(message)]
        try:
            payload = _ENCODER.encode(message)
            for key in form.date_keys:
                payload = _short_dates(payload, key)
            form.decode(payload)
        except (*_UNREADABLE, TypeError, NotImplementedError) as error:
            raise UnsendableError(_why_unsendable(form.type, message)) from error
        return payload

    def _decode(
        self, form: _Form[M], payload: bytes | msgspec.Raw, mode: Mode, received_at: datetime | None
    ) -> Decoded[M] | WireError:
        raw = bytes(payload)
        # What the decoder lets pass and we do not: null for an absent field, and dates of an odd form.
        # rfind is three times as fast as find on such texts.
        if raw.rfind(b"null") < 0 and not (form.date_keys and _has_odd_date(raw)):
            try:
                return Decoded(form.decode(raw), (), raw)
            except _UNREADABLE:
                pass
        return self._decode_slowly(form, raw, mode, received_at)

    def _decode_slowly(
        self, form: _Form[M], raw: bytes, mode: Mode, received_at: datetime | None
    ) -> Decoded[M] | WireError:
        try:
            value: object = _ANY.decode(raw)
        except _UNREADABLE:
            return WireError(ErrorCode.FORMATION_VIOLATION, "the payload is not JSON")
        flags: tuple[str, ...] = ()
        if value is None and form.empty:
            value = {}
        elif mode is Mode.LENIENT and (value is None or value == []):
            value, flags = {}, ("$: empty value read as an object",)
        if not isinstance(value, dict):
            return WireError(ErrorCode.FORMATION_VIOLATION, "the payload is not an object")
        leniency = self._leniency if mode is Mode.LENIENT else None
        result = read(form.type, value, leniency=leniency, received_at=received_at)
        if isinstance(result, WireError):
            return result
        message, more = result
        return Decoded(message, flags + more, raw)


def _has_odd_date(raw: bytes) -> bool:
    """Whether there may be a date with a space for T, or one that UTC has no year for."""
    return (
        raw.rfind(b'"0001-01-01') >= 0
        or raw.rfind(b'"9999-12-31') >= 0
        or (_SPACE in raw and _SPACED.search(raw) is not None)
    )


def _exact(text: str) -> Decimal:
    """A JSON number; what is beyond all exponents becomes NaN, which every field refuses under its own path."""
    try:
        return Decimal(text)
    except ArithmeticError:
        return Decimal("NaN")


def _plain(value: object) -> object:
    if isinstance(value, Tenths):
        return Decimal(value)
    raise NotImplementedError


_ANY = msgspec.json.Decoder(float_hook=_exact)
_ENCODER = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")


def _short_dates(payload: bytes, key: bytes) -> bytes:
    """Dates in the field of `key` written as `…Z` with at most milliseconds (J-24), cut: time never runs ahead."""
    pieces: list[bytes] = []
    begin, at = 0, payload.find(key)
    while at >= 0:
        at += len(key)
        if payload[at + 19 : at + 20] != b"Z":
            if payload[at + 26 : at + 27] == b"Z":  # 2024-05-01T12:00:00.123456Z
                pieces.append(payload[begin : at + (19 if payload[at + 19 : at + 23] == b".000" else 23)])
                begin = at + 26
            else:
                end = payload.index(b'"', at)
                pieces += payload[begin:at], _utc(payload[at:end])
                begin = end
        at = payload.find(key, at)
    return b"".join(pieces) + payload[begin:] if pieces else payload


def _utc(text: bytes) -> bytes:
    moment = datetime.fromisoformat(text.decode())
    if moment.tzinfo is None:
        return text
    moment = moment.astimezone(UTC)
    timespec = "milliseconds" if moment.microsecond >= 1000 else "seconds"
    return moment.isoformat(timespec=timespec)[:-6].encode() + b"Z"


def _why_unsendable(part: type[Part], message: Part) -> WireError:
    try:
        value = _ANY.decode(_ENCODER.encode(message))
    except (*_UNREADABLE, TypeError, NotImplementedError):
        return WireError(ErrorCode.INTERNAL_ERROR, "a value cannot be written as JSON")
    result = read(part, value)
    if isinstance(result, WireError):
        return result
    return WireError(ErrorCode.INTERNAL_ERROR, "the message does not fit its type")
