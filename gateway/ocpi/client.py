"""The OCPI client: one request to one partner, its answer, or an error that says what is known of the outcome.

    OcpiClientError
     ├── Refused       the partner answered, and not with success (raised by `OcpiAnswer.expect` alone)
     ├── Unreachable   no connection: the request was certainly not received
     ├── TimedOut      no answer in time: whether it took effect is unknown
     ├── Broken        the connection ended in the middle: whether it took effect is unknown
     └── NotOcpi       a 2xx answer that is no OCPI envelope, or too long

`UrlRefusedError` of the URL policy comes before anything is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import httpx

from domain.errors import ChargeSphereError
from gateway.ocpi.url_policy import CheckedTransport, UrlPolicy, UrlRefusedError
from protocols.ocpi import NotJsonError, OcpiInvalidError, decode
from protocols.ocpi.envelope import (
    CORRELATION_ID,
    REQUEST_ID,
    PartyId,
    encode_token,
    is_success,
    next_link,
    write_routing,
)
from protocols.ocpi.types import JSON

MAX_BYTES: Final = 8 * 1024 * 1024
MAX_PAGES: Final = 10_000


class OcpiClientError(ChargeSphereError):
    """What a request to a partner can come to, other than an answer."""


class PeerRefusedError(OcpiClientError):
    """The partner's answer was not success."""

    def __init__(self, answer: OcpiAnswer) -> None:
        super().__init__(answer.summary)
        self.answer = answer


class PeerUnreachableError(OcpiClientError):
    """No connection: the request was certainly not received."""


class PeerTimedOutError(OcpiClientError):
    """No answer in time: whether the request took effect is unknown."""


class PeerBrokenError(OcpiClientError):
    """The connection ended before the answer did: whether the request took effect is unknown."""


class NotOcpiError(OcpiClientError):
    """The answer is a 2xx without an envelope, or too long."""

    def __init__(self, http_status: int, message: str) -> None:
        super().__init__(message)
        self.http_status = http_status


@dataclass(frozen=True, slots=True)
class Peer:
    """How a partner is spoken to: the token that we use with it, and whether it wants it without Base64."""

    token: str = field(repr=False)
    token_raw: bool = False

    @property
    def authorization(self) -> str:
        return f"Token {self.token}" if self.token_raw else encode_token(self.token)


@dataclass(frozen=True, slots=True)
class OcpiAnswer:
    """An answer. `status_code` is OCPI's, 0 where an HTTP error came without an envelope; `data` has Decimals."""

    http_status: int
    status_code: int
    status_message: str
    data: JSON
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether both HTTP and OCPI say success."""
        return 200 <= self.http_status < 300 and is_success(self.status_code)

    @property
    def summary(self) -> str:
        """One line for logs and reasons, without any data."""
        said = f"OCPI {self.status_code}" if self.status_code else "no OCPI envelope"
        message = f": {self.status_message[:200]}" if self.status_message else ""
        return f"HTTP {self.http_status}, {said}{message}"

    def expect(self) -> OcpiAnswer:
        """Itself where it says success; raises Refused."""
        if not self.ok:
            raise PeerRefusedError(self)
        return self


class OcpiClient:
    """One a process; keeps connections open between requests. All URLs go through the policy."""

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        timeout: float = 10.0,
        max_bytes: int = MAX_BYTES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.policy = policy
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._http = httpx.AsyncClient(
            transport=transport or CheckedTransport(policy),
            timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": "ChargeSphere", "Accept": "application/json"},
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def request(
        self,
        method: str,
        url: str,
        peer: Peer,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        to: PartyId | None = None,
        sender: PartyId | None = None,
        request_id: str = "",
        correlation_id: str = "",
        timeout: float | None = None,
    ) -> OcpiAnswer:
        """One request, never repeated. `timeout` in seconds for the whole. Raises OcpiClientError,
        UrlRefusedError."""
        self.policy.check_form(url)
        if query:
            url = f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}"
        headers = {
            "Authorization": peer.authorization,
            REQUEST_ID: request_id or str(uuid4()),
            CORRELATION_ID: correlation_id or str(uuid4()),
            **write_routing(to, sender),
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        host = urlsplit(url).hostname or ""
        seconds = timeout or self._timeout
        try:
            async with (
                asyncio.timeout(seconds),
                self._http.stream(method, url, headers=headers, content=body) as response,
            ):
                raw = await self._read(response)
                return _answer(response, raw)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
            raise PeerTimedOutError(f"{host} did not answer in {seconds:g} s") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise PeerUnreachableError(
                f"{host} cannot be reached: {error or 'no connection in time'}"
            ) from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise UrlRefusedError(f"{url[:100]!r} is no URL: {error}") from None
        except httpx.HTTPError as error:
            raise PeerBrokenError(
                f"the connection to {host} ended: {error or type(error).__name__}"
            ) from None

    async def pages(
        self,
        url: str,
        peer: Peer,
        *,
        query: Mapping[str, str] | None = None,
        to: PartyId | None = None,
        sender: PartyId | None = None,
        correlation_id: str = "",
    ) -> AsyncIterator[list[JSON]]:
        """The pages of a list, following Link while it stays at the same place. Raises as `request`, and Refused."""
        start = urlsplit(url)
        for _ in range(MAX_PAGES):
            answer = await self.request(
                "GET", url, peer, query=query, to=to, sender=sender, correlation_id=correlation_id
            )
            data = answer.expect().data
            if not isinstance(data, list):
                raise NotOcpiError(answer.http_status, f"the list at {start.hostname} is no array")
            yield data
            following = next_link(answer.headers.get("link"))
            if following is None or following == url:
                return
            there = urlsplit(following)
            if (there.scheme, there.netloc) != (start.scheme, start.netloc):
                raise UrlRefusedError(f"the next page lies at {there.netloc}, the list at {start.netloc}")
            url, query = following, None

    async def _read(self, response: httpx.Response) -> bytes:
        chunks = bytearray()
        async for chunk in response.aiter_bytes():
            chunks += chunk
            if len(chunks) > self._max_bytes:
                raise NotOcpiError(response.status_code, f"the answer is longer than {self._max_bytes} bytes")
        return bytes(chunks)


def _answer(response: httpx.Response, raw: bytes) -> OcpiAnswer:
    status = response.status_code
    headers = {name.lower(): value for name, value in response.headers.items()}
    try:
        envelope = decode(raw)
    except (NotJsonError, OcpiInvalidError) as error:
        envelope, why = None, str(error)
    else:
        why = "the answer is no OCPI envelope"
    code = envelope.get("status_code") if isinstance(envelope, dict) else None
    if not isinstance(envelope, dict) or not isinstance(code, int) or isinstance(code, bool):
        if 200 <= status < 300:
            raise NotOcpiError(status, why)
        return OcpiAnswer(status, 0, "", None, headers)
    message = envelope.get("status_message")
    return OcpiAnswer(
        status, code, message if isinstance(message, str) else "", envelope.get("data"), headers
    )
