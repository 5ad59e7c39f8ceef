"""Single values as charge points write them, strictly and leniently (J-24 to J-26).

In: a value from JSON and a `FieldModel`. Out: the typed value and, where it had to be coerced, a note that says how;
or `RefusedValueError`. Floats never come in: JSON numbers are `int` or `Decimal`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from domain.errors import ChargeSphereError
from protocols.ocpp.message import ErrorCode, Instant, Tenths, Uri
from protocols.ocpp.model import FieldModel, Kind

Scalar: TypeAlias = str | int | bool | Decimal | datetime
Note: TypeAlias = str | None

_LEAST, _MOST = -(2**63), 2**63 - 1
_NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?", re.ASCII)
_TENTH = Decimal("0.1")


class RefusedValueError(ChargeSphereError):
    """Internal: a value that cannot be read. Never leaves the package."""

    def __init__(self, code: ErrorCode, what: str) -> None:
        super().__init__(what)
        self.code: Final = code
        self.what: Final = what


class Leniency(msgspec.Struct, frozen=True):
    """What a version forgives beyond the general rules.

    `aliases`: values seen in the field for members of an enumeration. `fallbacks`: the member that stands for every
    value unknown to us. `indivisible`: parts whose meaning changes when a field is left out, so that they are read
    as a whole or not at all. `stand_ins`: what a required field is read as, by its name, where it is missing or
    cannot be read, so that the message is not lost for it.
    """

    aliases: Mapping[type[StrEnum], Mapping[str, StrEnum]]
    fallbacks: Mapping[type[StrEnum], StrEnum]
    indivisible: frozenset[type]
    stand_ins: Mapping[type, Mapping[str, object]] = {}


def wrong_type(what: str) -> RefusedValueError:
    return RefusedValueError(ErrorCode.TYPE_CONSTRAINT_VIOLATION, what)


def wrong_value(what: str) -> RefusedValueError:
    return RefusedValueError(ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, what)


def one_decimal(value: int | Decimal) -> bool:
    """Whether a number has at most one decimal and is of a size that any store can hold."""
    exact = Decimal(value)
    _, digits, exponent = exact.as_tuple()
    if not isinstance(exponent, int) or exact.adjusted() > 18:
        return False
    return exponent >= -1 or not any(digits[exponent + 1 :])


def tenths(_: type, value: object) -> Decimal:
    """The decoder's hook for `Tenths`. Raises ValueError, which the decoder turns into its own refusal."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not one_decimal(value):
        raise ValueError("not a number with at most one decimal")
    return Tenths(value)


def read_strict(field: FieldModel, value: object) -> Scalar:
    """The value exactly as its type wants it. Raises Refused."""
    match field.kind:
        case Kind.TEXT | Kind.URI:
            return _text(field, value)
        case Kind.INTEGER:
            if isinstance(value, bool) or not isinstance(value, int):
                raise wrong_type("an integer is expected")
            if not _LEAST <= value <= _MOST:
                raise wrong_value("the integer is outside the signed 64 bit range")
            return value
        case Kind.NUMBER:
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                raise wrong_type("a number is expected")
            if not one_decimal(value):
                raise wrong_value("the number has more than one decimal or is too large")
            return Tenths(value)
        case Kind.DECIMAL:
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                raise wrong_type("a number is expected")
            number = Decimal(value)
            if not number.is_finite() or abs(number.adjusted()) > 18:
                raise wrong_value("the number is too large or too small")
            return number
        case Kind.BOOLEAN:
            if not isinstance(value, bool):
                raise wrong_type("a boolean is expected")
            return value
        case Kind.INSTANT:
            return _instant(value)
        case _:
            assert field.enum is not None
            if not isinstance(value, str):
                raise wrong_type("a text is expected")
            try:
                return field.enum(value)
            except ValueError:
                raise wrong_value("the value is not one of the enumeration") from None


def read_lenient(field: FieldModel, value: object, leniency: Leniency) -> tuple[Scalar, Note]:
    """The value, coerced where its meaning is not in doubt. Raises Refused."""
    try:
        return read_strict(field, value), None
    except RefusedValueError as refused:
        match field.kind:
            case Kind.TEXT | Kind.URI:
                return _any_text(value, refused)
            case Kind.INTEGER:
                number = _any_number(value, refused)
                whole = number.to_integral_value()
                note = "rounded to an integer" if whole != number else "read as an integer"
                return read_strict(field, int(whole)), note
            case Kind.NUMBER:
                number = _any_number(value, refused)
                if one_decimal(number):
                    return Tenths(number), "text read as a number"
                return Tenths(number.quantize(_TENTH)), "rounded to one decimal"
            case Kind.DECIMAL:
                return read_strict(field, _any_number(value, refused)), "text read as a number"
            case Kind.BOOLEAN:
                return _any_boolean(value, refused), "read as a boolean"
            case Kind.INSTANT:
                return _any_instant(value, refused)
            case _:
                return _any_member(field, value, leniency, refused)


def _text(field: FieldModel, value: object) -> str:
    if not isinstance(value, str):
        raise wrong_type("a text is expected")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise wrong_value("the text holds half a surrogate pair")
    if field.max_length is not None and len(value) > field.max_length:
        raise wrong_value(f"the text is longer than {field.max_length} characters")
    if field.kind is Kind.URI:
        try:
            msgspec.convert(value, Uri)
        except msgspec.ValidationError:
            raise wrong_value("the text is not an absolute URI") from None
    return value


def _instant(value: object) -> datetime:
    if not isinstance(value, str):
        raise wrong_type("a date and time as text is expected")
    if value[10:11] == " ":
        raise wrong_value("the date and time has a space in place of T")
    try:
        moment = msgspec.convert(value, Instant)
    except msgspec.ValidationError:
        raise wrong_value("the text is not an ISO 8601 date and time with a zone") from None
    return _within_years(moment)


def _within_years(moment: datetime) -> datetime:
    """Refuse what has no year in UTC, so that nobody behind us fails when it converts a date."""
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise wrong_value("the date and time lies outside the years 1 to 9999 in UTC") from None
    return moment


def _any_text(value: object, refused: RefusedValueError) -> tuple[str, Note]:
    if isinstance(value, bool):
        return ("true" if value else "false"), "boolean read as text"
    if isinstance(value, int | Decimal) and Decimal(value).is_finite():
        return str(value), "number read as text"
    if isinstance(value, str):
        return value, f"{refused.what}; kept"
    raise refused


def _any_number(value: object, refused: RefusedValueError) -> Decimal:
    """A JSON number, or a text that is one, of at most 19 digits before the point."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = Decimal(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise refused
    number = Decimal(value)
    if not number.is_finite() or number.adjusted() > 18:
        raise refused
    return number


def _any_boolean(value: object, refused: RefusedValueError) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    found = known.get(str(value).strip().lower()) if isinstance(value, str | int) else None
    if found is None:
        raise refused
    return found


def _any_instant(value: object, refused: RefusedValueError) -> tuple[datetime, Note]:
    if not isinstance(value, str) or len(value) > 64:
        raise refused
    notes = []
    text = value.strip()
    if text[10:11] == " ":
        text = f"{text[:10]}T{text[11:].lstrip()}"
        notes.append("space read as T")
    if text[16:19] == ":60":
        text = f"{text[:16]}:59{text[19:]}"
        notes.append("leap second read as the second before")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise refused from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
        notes.append("no zone, read as UTC")
    return _within_years(moment), "; ".join(notes) or "unusual form of a date and time"


def _any_member(
    field: FieldModel, value: object, leniency: Leniency, refused: RefusedValueError
) -> tuple[Scalar, Note]:
    assert field.enum is not None
    if not isinstance(value, str):
        raise refused
    key = value.strip().casefold()
    for member in field.enum:
        if member.value.casefold() == key:
            return member, "letter case or spaces corrected"
    alias = leniency.aliases.get(field.enum, {}).get(key)
    if alias is not None:
        return alias, f"read as {alias.value}"
    fallback = leniency.fallbacks.get(field.enum)
    if fallback is None:
        raise refused
    return fallback, f"unknown value read as {fallback.value}"
