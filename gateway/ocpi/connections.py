"""HTTP/1.1 connections to partners, kept open between requests: an httpx transport on asyncio and h11.

What enters: a request of httpx. What leaves: its answer, on a connection to an address that the policy allows.
httpx's own pool asks the kernel after every open connection, and looks for libraries that are not installed, several
times for each request; here a connection knows by itself whether its peer has closed it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, cast

import h11
import httpx

from gateway.ocpi.url_policy import UrlPolicy

IDLE_S = 20.0
"""How long an unused connection is kept."""

ADDRESSES = 3
"""How many addresses of a host are tried."""

Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class Place(NamedTuple):
    """Whom a connection leads to."""

    scheme: str
    host: str
    port: int


class Connections(httpx.AsyncBaseTransport):
    """At most `connections` at once, of which `idle_per_host` wait for the next request to their host."""

    def __init__(
        self, policy: UrlPolicy, *, connections: int = 200, idle_per_host: int = 50, idle_s: float = IDLE_S
    ) -> None:
        self._policy = policy
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._room = asyncio.Semaphore(connections)
        self._idle_per_host = idle_per_host
        self._idle_s = idle_s
        self._idle: defaultdict[Place, list[_Line]] = defaultdict(list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises UrlRefused, and httpx.HTTPError: ConnectError and ConnectTimeout where nothing was sent."""
        url = request.url
        place = Place(
            url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)
        )
        body = await request.aread()
        await self._room.acquire()
        line: _Line | None = None
        try:
            line = self._waiting_line(place) or await self._connect(place, _connect_seconds(request))
            head = await line.ask(request, body)
        except BaseException:
            self._room.release()
            if line is not None:
                line.close()
            raise

        return httpx.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=_Body(line, partial(self._give_back, place, line)),
            extensions={"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason},
        )

    async def aclose(self) -> None:
        for lines in self._idle.values():
            for line in lines:
                line.close()
        self._idle.clear()

    def _waiting_line(self, place: Place) -> _Line | None:
        lines = self._idle.get(place, [])
        while lines:
            line = lines.pop()
            if line.take():
                return line
            line.close()
        return None

    def _give_back(self, place: Place, line: _Line, whole: bool) -> None:
        self._room.release()
        lines = self._idle[place]
        if not whole or len(lines) >= self._idle_per_host or not line.rest(self._idle_s):
            line.close()
            return
        lines[:] = [one for one in lines if one.open]
        lines.append(line)

    async def _connect(self, place: Place, seconds: float | None) -> _Line:
        loop = asyncio.get_running_loop()
        secure = place.scheme == "https"
        try:
            addresses = await self._policy.addresses(place.host, place.port)
        except OSError as error:
            raise httpx.ConnectError(f"{place.host} cannot be resolved: {error}") from error
        failure: httpx.TransportError = httpx.ConnectError(f"{place.host} has no address")
        for address in addresses[:ADDRESSES]:
            try:
                async with asyncio.timeout(seconds):
                    _, line = await loop.create_connection(
                        _Line,
                        address,
                        place.port,
                        ssl=self._tls if secure else None,
                        server_hostname=place.host if secure else None,
                    )
                return line
            except TimeoutError:
                failure = httpx.ConnectTimeout("")
            except (OSError, ssl.CertificateError) as error:
                failure = httpx.ConnectError(str(error))
        raise failure


def _connect_seconds(request: httpx.Request) -> float | None:
    seconds = request.extensions.get("timeout", {}).get("connect")
    return float(seconds) if seconds is not None else None


class _Line(asyncio.Protocol):
    """One connection: it asks one request at a time."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._received: list[bytes] = []
        self._lost: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._end: asyncio.TimerHandle | None = None
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by their class

    def data_received(self, data: bytes) -> None:
        if self._end is not None:
            self.close()  # nothing was asked
            return
        self._received.append(data)
        self._wake()

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._ended(error)

    async def ask(self, request: httpx.Request, body: bytes) -> h11.Response:
        """Sends the request and returns the head of its answer."""
        with _named():
            head = h11.Request(
                method=request.method, target=request.url.raw_path, headers=list(request.headers.raw)
            )
            events = (head, h11.Data(data=body), h11.EndOfMessage()) if body else (head, h11.EndOfMessage())
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write(b"".join(self._http.send(event) or b"" for event in events))
            while True:
                event = await self.next()
                if isinstance(event, h11.Response):
                    return event
                if not isinstance(event, h11.InformationalResponse):
                    raise httpx.RemoteProtocolError("the connection ended before the answer")

    async def next(self) -> Event:
        """The next piece of the answer."""
        with _named():
            while (event := self._http.next_event()) is h11.NEED_DATA:
                if not self._received and self.open:
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
                if self._received:
                    self._http.receive_data(b"".join(self._received))
                    self._received.clear()
                elif self._lost is not None:
                    raise httpx.ReadError(str(self._lost)) from self._lost
                else:
                    self._http.receive_data(b"")
            return event

    def rest(self, seconds: float) -> bool:
        """Wait for the next request, for so long; False where this connection takes none."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        if self._received or self._http.trailing_data[0] or not self.open:
            return False
        self._http.start_next_cycle()
        self._end = asyncio.get_running_loop().call_later(seconds, self.close)
        return True

    def take(self) -> bool:
        """Whether it can be used again: still open, and silent since its last answer."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
        return self.open

    def close(self) -> None:
        if self._end is not None:
            self._end.cancel()
        self.open = False
        if self._transport is not None:
            self._transport.close()

    def _ended(self, error: Exception | None) -> None:
        self.open = False
        self._lost = self._lost or error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Body(httpx.AsyncByteStream):
    """The body as it comes; `done` is told once whether it came to its end."""

    def __init__(self, line: _Line, done: Callable[[bool], None]) -> None:
        self._line = line
        self._done = done
        self._whole = False
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self._whole:
            event = await self._line.next()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            else:
                self._whole = isinstance(event, h11.EndOfMessage)
                return

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._done(self._whole)


@contextmanager
def _named() -> Iterator[None]:
    """h11's errors under httpx's names."""
    try:
        yield
    except h11.RemoteProtocolError as error:
        raise httpx.RemoteProtocolError(str(error)) from error
    except h11.LocalProtocolError as error:
        raise httpx.LocalProtocolError(str(error)) from error
