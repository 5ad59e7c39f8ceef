"""What every OCPI answer and request carries around its object: envelope, status codes, headers, the token.

What enters and leaves are plain values (header texts, query values, moments); URLs are only taken apart and put
together. It never sends anything, asks a clock or decides which HTTP status an answer has.
Chapter "Transport and format" of the standard.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final
from urllib.parse import urlencode

from pydantic_core import PydanticCustomError

from protocols.ocpi.codec import OcpiInvalidError, dump
from protocols.ocpi.types import (
    JSON,
    AnyJson,
    DateTime,
    Int,
    OcpiModel,
    Str,
    show,
    to_date_time,
    write_date_time,
)

# --- the envelope ----------------------------------------------------------------------------------------


class StatusCode(IntEnum):
    """The status codes of OCPI; x900 to x999 are free for own use. Those from 4000 on are the hub's."""

    SUCCESS = 1000
    CLIENT_ERROR = 2000
    INVALID_PARAMETERS = 2001
    NOT_ENOUGH_INFORMATION = 2002
    UNKNOWN_LOCATION = 2003
    UNKNOWN_TOKEN = 2004
    SERVER_ERROR = 3000
    UNABLE_TO_USE_CLIENT_API = 3001
    UNSUPPORTED_VERSION = 3002
    NO_MATCHING_ENDPOINTS = 3003
    HUB_ERROR = 4000
    UNKNOWN_RECEIVER = 4001
    TIMEOUT_ON_FORWARDED_REQUEST = 4002
    CONNECTION_PROBLEM = 4003


def is_success(status_code: int) -> bool:
    """Whether a status code says success: 1000 to 1999."""
    return 1000 <= status_code <= 1999


class Envelope(OcpiModel):
    """An answer: `data` is JSON (object, array or string), meaningful only with a status code of 1xxx."""

    data: AnyJson = None
    status_code: Int
    status_message: Str | None = None
    timestamp: DateTime


def respond(
    timestamp: datetime,
    data: OcpiModel | Sequence[OcpiModel] | JSON = None,
    *,
    status_code: int = StatusCode.SUCCESS,
    status_message: str | None = None,
) -> bytes:
    """The bytes of an answer; `data` None is left out, an empty list is written.

    `timestamp` must be aware; it is cut to milliseconds, as a DateTime has at most 25 characters.
    """
    body = b"" if data is None else b'"data":' + dump(data) + b","
    head: dict[str, JSON] = {"status_code": int(status_code)}
    if status_message is not None:
        head["status_message"] = status_message
    moment = to_date_time(timestamp)
    head["timestamp"] = write_date_time(moment.replace(microsecond=moment.microsecond // 1000 * 1000))
    return b"{" + body + dump(head)[1:]


# --- headers ---------------------------------------------------------------------------------------------

REQUEST_ID: Final = "X-Request-ID"
CORRELATION_ID: Final = "X-Correlation-ID"
TO_COUNTRY_CODE: Final = "OCPI-to-country-code"
TO_PARTY_ID: Final = "OCPI-to-party-id"
FROM_COUNTRY_CODE: Final = "OCPI-from-country-code"
FROM_PARTY_ID: Final = "OCPI-from-party-id"
LINK: Final = "Link"
TOTAL_COUNT: Final = "X-Total-Count"
LIMIT: Final = "X-Limit"


@dataclass(frozen=True, slots=True)
class PartyId:
    """A party as headers name it, as sent; compare with `key`, as both are without case."""

    country_code: str
    party_id: str

    @property
    def key(self) -> tuple[str, str]:
        """What two spellings of the same party have in common."""
        return self.country_code.upper(), self.party_id.upper()


@dataclass(frozen=True, slots=True)
class Routing:
    """Where a message goes and where it comes from; None where the pair of headers is not there."""

    to: PartyId | None
    sender: PartyId | None


def read_routing(headers: Mapping[str, str]) -> Routing:
    """The routing headers, names without case. Raises `OcpiInvalidError` for half a pair or a wrong length."""
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    return Routing(_pair(lower, TO_COUNTRY_CODE, TO_PARTY_ID), _pair(lower, FROM_COUNTRY_CODE, FROM_PARTY_ID))


def write_routing(to: PartyId | None, sender: PartyId | None) -> dict[str, str]:
    """The routing headers of a message."""
    headers: dict[str, str] = {}
    if to is not None:
        headers |= {TO_COUNTRY_CODE: to.country_code, TO_PARTY_ID: to.party_id}
    if sender is not None:
        headers |= {FROM_COUNTRY_CODE: sender.country_code, FROM_PARTY_ID: sender.party_id}
    return headers


def _pair(lower: Mapping[str, str], country_name: str, party_name: str) -> PartyId | None:
    country, party = lower.get(country_name.lower()), lower.get(party_name.lower())
    if not country and not party:
        return None
    for name, value, longest in ((country_name, country, 2), (party_name, party, 3)):
        if not value:
            raise OcpiInvalidError(name, "the two headers of a party come as a pair")
        if len(value) > longest or not value.isascii() or not value.isprintable():
            raise OcpiInvalidError(
                name, f"must be printable ASCII of at most {longest} characters, got {show(value)}"
            )
    return PartyId(country or "", party or "")


# --- pagination ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """What a list is asked for: `date_from` inclusive, `date_to` exclusive, both on last_updated."""

    offset: int
    limit: int
    date_from: datetime | None = None
    date_to: datetime | None = None


def read_page(query: Mapping[str, str], *, max_limit: int) -> Page:
    """The page that a query asks for; a limit above `max_limit` is clamped. Raises `OcpiInvalidError`."""
    return Page(
        offset=_whole(query, "offset", least=0) or 0,
        limit=min(_whole(query, "limit", least=1) or max_limit, max_limit),
        date_from=_moment(query, "date_from"),
        date_to=_moment(query, "date_to"),
    )


def page_headers(
    url: str, query: Mapping[str, str], page: Page, *, total: int, max_limit: int
) -> dict[str, str]:
    """Link (but on the last page), X-Total-Count and X-Limit (the largest page that the server gives).

    `url` is absolute and without a query; the link repeats every filter of `query` and the clamped limit.
    """
    headers = {TOTAL_COUNT: str(total), LIMIT: str(max_limit)}
    after = page.offset + page.limit
    if after < total:
        kept = {name: value for name, value in query.items() if name not in ("offset", "limit")}
        following = urlencode(kept | {"offset": str(after), "limit": str(page.limit)})
        headers[LINK] = f'<{url}?{following}>; rel="next"'
    return headers


def next_link(header: str | None) -> str | None:
    """The URL of the next page in a Link header, or None on the last page."""
    for target, parameters in _LINK.findall(header or ""):
        if _NEXT.search(parameters):
            return str(target).strip()
    return None


_LINK: Final = re.compile(r"<([^<>]*)>([^<]*)")
_NEXT: Final = re.compile(r";\s*rel\s*=\s*(?:\"[^\"]*\bnext\b[^\"]*\"|next\b)", re.IGNORECASE)


def _whole(query: Mapping[str, str], name: str, *, least: int) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 15 and int(value) >= least):
        raise OcpiInvalidError(name, f"must be a whole number of at least {least}, got {show(value)}")
    return int(value)


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    value = query.get(name)
    if value is None:
        return None
    try:
        return to_date_time(value)
    except PydanticCustomError as error:
        raise OcpiInvalidError(name, error.message()) from None


# --- the Authorization header ----------------------------------------------------------------------------


def encode_token(token: str) -> str:
    """The Authorization header of 2.2.1 and 2.3.0: `Token` and the Base64 of the token."""
    return "Token " + base64.b64encode(token.encode()).decode()


def decode_token(header_value: str) -> tuple[str, ...]:
    """The tokens that an Authorization header may mean, the likelier first; () where it holds none.

    First what Base64 gives, CR and LF at its end stripped (the standard's own examples carry one), then the
    text itself, as many peers send it raw. Which one is known must be compared in constant time.
    """
    scheme, _, credentials = header_value.strip().partition(" ")
    credentials = credentials.strip()
    if scheme.lower() != "token" or not credentials:
        return ()
    candidates = [credentials]
    try:
        decoded = base64.b64decode(credentials, validate=True).decode("ascii").rstrip("\r\n")
    except (binascii.Error, ValueError):
        decoded = ""
    if decoded and all("!" <= char <= "~" for char in decoded):
        candidates.insert(0, decoded)
    return tuple(dict.fromkeys(c for c in candidates if all("!" <= char <= "~" for char in c)))
