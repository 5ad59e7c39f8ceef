"""Reads and writes the objects of OCPI.

What enters are bytes of a body, or JSON that is already decoded; what leaves is the object, or one of two errors:

    OcpiError
    ├── NotJsonError       the bytes are no JSON (RFC 8259): HTTP 400
    └── OcpiInvalidError   everything else: OCPI 2001, with the path of the field

No other exception leaves `parse`. Fractions become `Decimal` and are written back with the same value. Of
duplicate keys the last one wins. `NaN` and `Infinity` are not JSON. Nothing here knows HTTP or a transport.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Final, NoReturn, TypeVar, cast

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from domain.errors import ChargeSphereError
from protocols.ocpi.types import JSON, MAX_DEPTH, OcpiModel, show, to_json

M = TypeVar("M", bound=OcpiModel)

MAX_BYTES: Final = 8 * 1024 * 1024
"""A longer body is refused unread."""

MAX_BODY_DEPTH: Final = 2 * MAX_DEPTH
"""A body may nest this deep as a whole; what an unknown field holds, `MAX_DEPTH`."""


class OcpiError(ChargeSphereError):
    """What is wrong with a body from outside."""


class NotJsonError(OcpiError):
    """The bytes are no JSON: the only reason for HTTP 400."""


class OcpiInvalidError(OcpiError):
    """A field is missing or wrong: OCPI 2001. `path` is such as `evses[0].connectors[1].id`, "" for the whole."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message

    def under(self, prefix: str) -> OcpiInvalidError:
        """The same error where the object stands at `prefix` in a larger one."""
        joiner = "" if not self.path or self.path.startswith("[") else "."
        return OcpiInvalidError(f"{prefix}{joiner}{self.path}", self.message)


def parse(model: type[M], raw: bytes | bytearray | memoryview, *, max_bytes: int = MAX_BYTES) -> M:
    """The object in a body. Raises `NotJsonError` or `OcpiInvalidError`, nothing else."""
    return parse_json(model, _decoded(raw, max_bytes))


def parse_json(model: type[M], value: object) -> M:
    """The object in decoded JSON. Binary floats are refused: decode with Decimals. Raises `OcpiInvalidError`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _invalid(error) from None
    except RecursionError:
        raise OcpiInvalidError("", f"must not nest deeper than {MAX_BODY_DEPTH}") from None


def parse_each(model: type[M], value: object) -> tuple[tuple[M, ...], tuple[OcpiInvalidError, ...]]:
    """The valid objects of a list, and what is wrong with the others (a client should process the valid ones).

    `value` is decoded JSON; null counts as an empty list. Raises `OcpiInvalidError` only where it is no list.
    """
    if value is None:
        return (), ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise OcpiInvalidError("", f"must be an array, got {show(value)}")
    good: list[M] = []
    bad: list[OcpiInvalidError] = []
    for index, item in enumerate(value):
        try:
            good.append(parse_json(model, item))
        except OcpiInvalidError as error:
            bad.append(error.under(f"[{index}]"))
    return tuple(good), tuple(bad)


def dump(value: OcpiModel | Sequence[OcpiModel] | JSON) -> bytes:
    """The body of an object, of a list of objects, or of plain JSON: UTF-8, numbers by value, no spaces."""
    return _ENCODER.encode(_plain(value))


def dump_json(value: OcpiModel) -> dict[str, JSON]:
    """The object as decoded JSON: fields that were given, unknown ones included; fractions as Decimal."""
    return cast("dict[str, JSON]", _built_in(_plain(value)))


def _built_in(value: object) -> object:
    if isinstance(value, dict):
        return {key: _built_in(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_built_in(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def _plain(value: object) -> object:
    if isinstance(value, OcpiModel):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


# --- bytes to JSON ---------------------------------------------------------------------------------------


def decode(raw: bytes | bytearray | memoryview, *, max_bytes: int = MAX_BYTES) -> JSON:
    """Decoded JSON with Decimals, at most `MAX_BODY_DEPTH` deep. Raises `NotJsonError` or `OcpiInvalidError`."""
    found = _decoded(raw, max_bytes)
    _point_out(found)
    return found


def _decoded(raw: bytes | bytearray | memoryview, max_bytes: int) -> JSON:
    if len(raw) > max_bytes:
        raise OcpiInvalidError("", f"a body of {len(raw)} bytes is longer than {max_bytes}")
    try:
        return cast(JSON, _DECODER.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidOperation, RecursionError, ValueError):
        return _decode_slowly(bytes(raw))


_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class _Unreadable:
    why: str


def _decode_slowly(raw: bytes) -> JSON:
    """Told apart by the standard library what the fast decoder refuses: no JSON at all, or JSON beyond a limit."""
    try:
        found: object = json.loads(
            raw.decode(), parse_float=_float, parse_int=_int, parse_constant=_no_constant
        )
    except RecursionError:
        raise OcpiInvalidError("", f"must not nest deeper than {MAX_BODY_DEPTH}") from None
    except UnicodeDecodeError as error:
        raise NotJsonError(f"the body is not UTF-8 (byte {error.start})") from None
    except ValueError as error:
        raise NotJsonError(f"the body is not JSON: {error}") from None
    _point_out(found)
    return cast(JSON, found)


def _float(digits: str) -> Decimal | _Unreadable:
    try:
        return Decimal(digits)
    except InvalidOperation:
        return _Unreadable("a number must be below 10^308 and have at most 400 decimals")


def _int(digits: str) -> int | _Unreadable:
    return int(digits) if len(digits) <= 400 else _Unreadable("a number must be below 10^308")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _point_out(value: object, path: tuple[str | int, ...] = ()) -> None:
    """Raises `OcpiInvalidError` for the first value that `to_json` refuses, with its path."""
    if isinstance(value, _Unreadable):
        raise OcpiInvalidError(_path(path), value.why)
    if isinstance(value, dict | list) and len(path) >= MAX_BODY_DEPTH:
        raise OcpiInvalidError(_path(path), f"must not nest deeper than {MAX_BODY_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            try:
                to_json(key)
            except PydanticCustomError as error:
                raise OcpiInvalidError(_path(path), f"a key {error.message()}") from None
            _point_out(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _point_out(item, (*path, index))
    else:
        try:
            to_json(value)
        except PydanticCustomError as error:
            raise OcpiInvalidError(_path(path), error.message()) from None


# --- errors ----------------------------------------------------------------------------------------------

_MESSAGES: Final[Mapping[str, str]] = {
    "missing": "is required",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "tuple_type": "must be an array",
    "string_type": "must be a string",
    "string_sub_type": "must be a string",
    "string_unicode": "must not hold half of a surrogate pair",
    "bool_type": "must be true or false",
    "too_short": "must have at least one entry",
}


def _invalid(error: ValidationError) -> OcpiInvalidError:
    first = error.errors(include_url=False, include_context=True)[0]
    return OcpiInvalidError(_path(first["loc"]), _message(first))


def _message(error: ErrorDetails) -> str:
    kind, got = error["type"], error["input"]
    context = error.get("ctx", {})
    if kind == "missing":
        return _MESSAGES[kind]
    if kind == "ocpi":
        return error["msg"]
    if kind == "string_pattern_mismatch":
        return f"has a character or a form that is not allowed, got {show(got)}"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters, got {len(cast(str, got))}"
    if kind == "string_too_short":
        return f"must have at least {context['min_length']} character"
    if kind == "enum":
        return f"must be one of {context['expected']}, got {show(got)}"
    return f"{_MESSAGES.get(kind, error['msg'])}, got {show(got)}"


def _path(steps: Sequence[str | int]) -> str:
    written = ""
    for step in steps:
        if isinstance(step, int):
            written += f"[{step}]"
        else:
            name = step if step.isidentifier() and step.isascii() and len(step) <= 64 else show(step)
            written += f".{name}" if written else name
    return written
