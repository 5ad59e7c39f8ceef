"""What every OCPP message type is made of, for all versions.

In: nothing; this module only declares. Out: the bases `Part`, `Request` and `Confirmation`, the constrained scalars
and the result types `Decoded` and `WireError`. It never reads or writes bytes.

Field names are snake_case in Python and camelCase on the wire. Optional fields are `None` in Python and left out on
the wire (J-11). Instances are immutable and hold no cycles, so the garbage collector need not look at them.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta


class Part(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
    gc=False,
):
    """An object on the wire: a message or something inside one."""


class Request(Part, frozen=True, kw_only=True):
    """The payload of a CALL."""


class Confirmation(Part, frozen=True, kw_only=True):
    """The payload of a CALLRESULT."""


if TYPE_CHECKING:
    Tenths = Decimal
else:

    class Tenths(Decimal):
        """A number with at most one decimal. A type of its own, so that the decoder refuses it as JSON text."""


Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number. The schemas set no bounds; ours are those of every store behind us."""

Instant = Annotated[datetime, Meta(tz=True)]
"""A moment with its offset (ISO 8601). Sent as UTC with at most milliseconds (J-24)."""

Uri = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*\Z"),
]
"""An absolute URI (RFC 3986)."""

Text20 = Annotated[str, Meta(max_length=20)]
Text25 = Annotated[str, Meta(max_length=25)]
Text40 = Annotated[str, Meta(max_length=40)]
Text50 = Annotated[str, Meta(max_length=50)]
Text128 = Annotated[str, Meta(max_length=128)]
Text255 = Annotated[str, Meta(max_length=255)]
Text500 = Annotated[str, Meta(max_length=500)]
Text512 = Annotated[str, Meta(max_length=512)]
Text800 = Annotated[str, Meta(max_length=800)]
Text5500 = Annotated[str, Meta(max_length=5500)]
Text10000 = Annotated[str, Meta(max_length=10000)]


class Mode(StrEnum):
    """How a received payload is judged (J-26)."""

    STRICT = "strict"
    """Exactly the schema, else refused."""
    LENIENT = "lenient"
    """Coerced, flagged and kept wherever the meaning is not in doubt."""


class ErrorCode(StrEnum):
    """The CALLERROR codes in the spelling of OCPP 1.6 (J-13): two of them are misspelt there, and rightly so."""

    NOT_IMPLEMENTED = "NotImplemented"
    NOT_SUPPORTED = "NotSupported"
    INTERNAL_ERROR = "InternalError"
    PROTOCOL_ERROR = "ProtocolError"
    SECURITY_ERROR = "SecurityError"
    FORMATION_VIOLATION = "FormationViolation"
    PROPERTY_CONSTRAINT_VIOLATION = "PropertyConstraintViolation"
    OCCURRENCE_CONSTRAINT_VIOLATION = "OccurenceConstraintViolation"
    TYPE_CONSTRAINT_VIOLATION = "TypeConstraintViolation"
    GENERIC_ERROR = "GenericError"


class WireError(msgspec.Struct, frozen=True):
    """Why a payload was refused.

    `description` is made of our own words and never quotes the payload, so it may be sent to the peer (J-14). `path`
    (`$.meterValue[0].timestamp`) is for people and logs.
    """

    code: ErrorCode
    description: str
    path: str = "$"


M = TypeVar("M", bound=Part)


class Decoded(msgspec.Struct, Generic[M], frozen=True):
    """A payload that was accepted.

    `flags` says what was coerced, kept against a limit, or dropped, each with its path; empty when the payload was
    exact. `raw` is the payload as received. A message with flags may hold what its type would refuse to
    send: a text that is too long, a list that is too short.
    """

    message: M
    flags: tuple[str, ...]
    raw: bytes
