"""The scalar types and cardinalities of OCPI, as annotations of pydantic models.

What enters are decoded JSON values (numbers as `Decimal` or `int`), what leaves are `str`, `Decimal`, `int`,
`bool`, UTC `datetime` and tuples; a wrong value is refused with a message that names it. Nothing here does
I/O, asks a clock or uses binary floats. Every annotation carries the standard's own name of the type
(`Scalar.ocpi`, `Open.enum`, `Card.sign`), from which the tables in docs/ocpi-objects.md are generated.

Leniency, decided once (chapter "Types" of the standard says less): a date and time without a designator is
UTC, other offsets are converted, it is always written `…Z`; an `int` may be sent as `1.0`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Final, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, Strict
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | Decimal | bool | None"
"""Decoded JSON as this room reads and writes it: fractions are `Decimal`, never `float`."""

MAX_DEPTH: Final = 32
"""Unknown fields may nest this deep; the standard's own objects nest less."""

PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
PRINTABLE_ASCII: Final = r"^[\x20-\x7e]*$"
_ABSOLUTE_URL: Final = r"^[A-Za-z][A-Za-z0-9+.\-]*://[^\x00-\x20\x7f-\x9f]+$"
_LATITUDE: Final = r"^-?(?:[0-8]?[0-9]\.[0-9]{5,7}|90\.0{5,7})$"
_LONGITUDE: Final = r"^-?(?:(?:0?[0-9]{1,2}|1[0-7][0-9])\.[0-9]{5,7}|180\.0{5,7})$"
_DATE: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_CLOCK: Final = r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$"
_CLOCK_OR_MIDNIGHT: Final = r"^(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"

_DATE_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_UNKNOWN_MOMENT: Final = "1970-1-1T00:00:00Z"


def ci_key(value: str) -> str:
    """The key under which a CiString is compared and looked up: without case. The stored text stays as sent."""
    return value.lower()


def show(value: object) -> str:
    """A value as an error message may quote it: ASCII, at most 40 characters."""
    if isinstance(value, str):
        text = ascii(value[:40])
    elif isinstance(value, bool) or value is None:
        text = {True: "true", False: "false", None: "null"}[value]
    elif isinstance(value, int):
        text = str(value) if value.bit_length() <= 256 else "a very large integer"
    elif isinstance(value, Decimal):
        text = str(value) if len(value.as_tuple().digits) <= 40 else f"{value:.10E}"
    elif isinstance(value, list | tuple):
        text = "an array"
    else:
        text = "an object" if isinstance(value, dict) else type(value).__name__
    return text if len(text) <= 44 else text[:41] + "..."


def _refuse(message: str, value: object) -> PydanticCustomError:
    return PydanticCustomError("ocpi", "{what}, got {value}", {"what": message, "value": show(value)})


# --- scalars ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text type: the standard's name of it, its limits in characters, its pattern."""

    ocpi: str
    longest: int | None = None
    shortest: int = 0
    pattern: str = PRINTABLE

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.str_schema(
            max_length=self.longest, min_length=self.shortest or None, pattern=self.pattern, strict=True
        )


def ci(longest: int | None = None, shortest: int = 0, accepted: int | None = None) -> Scalar:
    """A CiString: printable ASCII, compared without case (`ci_key`), stored as sent; `accepted`: see `text`."""
    return Scalar(_sized("CiString", longest, shortest), accepted or longest, shortest, PRINTABLE_ASCII)


def text(longest: int | None = None, pattern: str = PRINTABLE, accepted: int | None = None) -> Scalar:
    """A string without control characters; `accepted` is the longer length that is read."""
    return Scalar(_sized("string", longest, 0), accepted or longest, 0, pattern)


def _sized(name: str, longest: int | None, shortest: int) -> str:
    if longest is None:
        return name
    return f"{name}({shortest}..{longest})" if shortest else f"{name}({longest})"


@dataclass(frozen=True, slots=True)
class Open:
    """An OpenEnum: the values of `enum` are known, every other printable text is legal and survives."""

    enum: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.str_schema(min_length=1, max_length=255, pattern=PRINTABLE, strict=True)


def to_number(value: object) -> Decimal:
    """A JSON number as an exact Decimal: below 10^16, at most 40 decimals; no float, NaN or Infinity."""
    if type(value) is Decimal:
        number = value
    elif isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > 64:
            raise _refuse("a number must be below 10^16", value)
        number = Decimal(value)
    else:
        raise _refuse("must be a number", value)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):
        raise _refuse("must be a finite number", value)
    if number.adjusted() > 15 or exponent < -40 or exponent > 15:
        raise _refuse("a number must be below 10^16 and have at most 40 decimals", value)
    return number


@dataclass(frozen=True, slots=True)
class _Number:
    ocpi: str = "number"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(to_number)


@dataclass(frozen=True, slots=True)
class _Int:
    ocpi: str
    digits: int | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        limit = 10**self.digits if self.digits else 2**63

        def to_int(value: object) -> int:
            if type(value) is Decimal and value.is_finite() and abs(value.adjusted()) < 20 and value % 1 == 0:
                value = int(value)
            if type(value) is not int:
                raise _refuse("must be a whole number", value)
            if not -limit < value < limit:
                raise _refuse(f"must have at most {self.digits or 18} digits", value)
            return value

        return core_schema.no_info_plain_validator_function(to_int)


def to_date_time(value: object) -> datetime:
    """A DateTime of OCPI (`2024-05-31T10:00:00[.fff][Z]`), or an aware `datetime`, in UTC."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise _refuse("a datetime must be aware", value)
    elif isinstance(value, str):
        found = _DATE_TIME.fullmatch(value) if len(value) <= 64 else None
        if found is None:
            raise _refuse("must be a date and time such as 2024-05-31T10:00:00Z", value)
        moment, fraction, zone = found.groups()
        try:
            value = datetime.fromisoformat(moment + (fraction or "")[:7] + (zone or "Z"))
        except ValueError as error:
            raise _refuse(f"is no date and time that exists ({error})", value) from None
    else:
        raise _refuse("must be a date and time such as 2024-05-31T10:00:00Z", value)
    if value.tzinfo is UTC:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise _refuse("lies outside the years 1 to 9999 in UTC", value) from None


def to_cdr_date_time(value: object) -> datetime:
    """As `to_date_time`, and the literal `1970-1-1T00:00:00Z` that CDRs use for an unknown moment."""
    return datetime(1970, 1, 1, tzinfo=UTC) if value == _UNKNOWN_MOMENT else to_date_time(value)


def write_date_time(moment: datetime) -> str:
    """A UTC moment as OCPI writes it: `…Z`, the fraction only where there is one, without trailing zeros."""
    written = moment.replace(tzinfo=None).isoformat()
    return (written.rstrip("0") if moment.microsecond else written) + "Z"


@dataclass(frozen=True, slots=True)
class _DateTime:
    read: Callable[[object], datetime]
    ocpi: str = "DateTime"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(write_date_time)
        )


@dataclass(frozen=True, slots=True)
class _Date:
    ocpi: str = "string(10)"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            _calendar_date, core_schema.str_schema(max_length=10, pattern=_DATE, strict=True)
        )


def _calendar_date(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError as error:
        raise _refuse(f"is no date that exists ({error})", value) from None
    return value


# --- cardinalities ---------------------------------------------------------------------------------------

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Card:
    """A list: `*` (null, [] and absent alike) or `+` (at least one)."""

    sign: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        (item,) = {arg for arg in get_args(source) if arg is not ...}
        items = core_schema.tuple_schema(
            [handler.generate_schema(item)],
            variadic_item_index=0,
            min_length=1 if self.sign == "+" else None,
            fail_fast=True,
        )
        if self.sign == "+":
            return items
        return core_schema.no_info_before_validator_function(_null_is_empty, items)


def _null_is_empty(value: object) -> object:
    return () if value is None else value


Many = Annotated[tuple[T, ...], Card("*")]
Some = Annotated[tuple[T, ...], Card("+")]


# --- unknown fields --------------------------------------------------------------------------------------


def to_json(value: object, depth: int = 0) -> JSON:
    """A value that JSON can write, nested at most `MAX_DEPTH` deep; numbers of at most 10^308."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise _refuse("must not hold half of a surrogate pair", value)
        return str(value)
    if isinstance(value, int):
        if value.bit_length() > 1024:
            raise _refuse("a number must be below 10^308", value)
        return value
    if type(value) is Decimal:
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int) or not -400 <= exponent <= 308 or value.adjusted() > 308:
            raise _refuse("a number must be finite, below 10^308 and have at most 400 decimals", value)
        return value
    if depth >= MAX_DEPTH:
        raise _refuse(f"must not nest deeper than {MAX_DEPTH}", value)
    if isinstance(value, dict):
        return {_key(key): to_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item, depth + 1) for item in value]
    raise _refuse("must be a JSON value", value)


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise _refuse("the keys of an object must be strings", key)
    return str(to_json(key))


@dataclass(frozen=True, slots=True)
class _Json:
    ocpi: str = "any"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(to_json)


AnyJson = Annotated[object, _Json()]


class OcpiModel(BaseModel):
    """An object of OCPI: frozen; unknown fields are kept and written back; a field never given is not written."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    __pydantic_extra__: dict[str, AnyJson] = Field(init=False)


# --- the names that models use ---------------------------------------------------------------------------

Ci = Annotated[str, ci()]
Ci2 = Annotated[str, ci(2)]
Ci3 = Annotated[str, ci(3)]
Ci4 = Annotated[str, ci(4)]
Ci5 = Annotated[str, ci(5)]
Ci10 = Annotated[str, ci(10)]
Ci20 = Annotated[str, ci(20)]
Ci25 = Annotated[str, ci(25)]
Ci32 = Annotated[str, ci(32)]
Ci36 = Annotated[str, ci(36)]
Ci39 = Annotated[str, ci(39)]
Ci45 = Annotated[str, ci(45)]
Ci48 = Annotated[str, ci(48)]
Ci255 = Annotated[str, ci(255)]
Ci1To255 = Annotated[str, ci(255, shortest=1)]

Str = Annotated[str, text()]
Str2 = Annotated[str, text(2)]
Str3 = Annotated[str, text(3)]
Str4 = Annotated[str, text(4)]
Str12 = Annotated[str, text(12)]
Str10 = Annotated[str, text(10)]
Str16 = Annotated[str, text(16)]
Str45 = Annotated[str, text(45)]
Str50 = Annotated[str, text(50)]
Str64 = Annotated[str, text(64)]
Str100 = Annotated[str, text(100)]
Str255 = Annotated[str, text(255)]
Str512 = Annotated[str, text(512)]
Str5000 = Annotated[str, text(5000)]

Url = Annotated[str, Scalar("URL", 255)]
AbsoluteUrl = Annotated[str, Scalar("URL", 255, 1, _ABSOLUTE_URL)]
Latitude = Annotated[str, text(10, _LATITUDE, accepted=11)]
Longitude = Annotated[str, text(11, _LONGITUDE, accepted=12)]
CdrAddress = Annotated[str, text(45, accepted=255)]
CdrState = Annotated[str, text(20, accepted=45)]
CdrId = Annotated[str, ci(36, accepted=39)]
CalendarDate = Annotated[str, _Date()]
ClockTime = Annotated[str, text(5, _CLOCK)]
OpeningTime = Annotated[str, text(5, _CLOCK_OR_MIDNIGHT)]

Bool = Annotated[bool, Strict()]
Int = Annotated[int, _Int("int")]
Int1 = Annotated[int, _Int("int(1)", 1)]
Int5 = Annotated[int, _Int("int(5)", 5)]
Number = Annotated[Decimal, _Number()]
DateTime = Annotated[datetime, _DateTime(to_date_time)]
CdrDateTime = Annotated[datetime, _DateTime(to_cdr_date_time)]
