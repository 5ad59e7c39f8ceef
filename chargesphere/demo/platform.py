"""An OCPI 2.3.0 platform of a simulated partner: versions, details, credentials in both directions, and its doors.

What enters: requests of the hub, on loopback. What leaves: answers in the envelope, requests to the hub, and a list
of everything in which the hub did not keep to the standard. What a role does with its modules is in `emsp` and `cpo`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from domain.errors import ChargeSphereError
from protocols.ocpi import OcpiInvalidError, decode, dump, parse_json
from protocols.ocpi.codec import NotJsonError
from protocols.ocpi.envelope import (
    CORRELATION_ID,
    REQUEST_ID,
    PartyId,
    StatusCode,
    decode_token,
    encode_token,
    is_success,
    read_routing,
    respond,
    write_routing,
)
from protocols.ocpi.types import JSON
from protocols.ocpi.v2_3_0 import Credentials, Version, VersionDetails

VERSION: Final = "2.3.0"
BASE: Final = f"/ocpi/{VERSION}"


class OcpiFailedError(ChargeSphereError):
    """The hub did not answer, or not with success; the message says where and how."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a door answers: the envelope is made around it."""

    data: JSON = None
    http: int = 200
    status_code: int = StatusCode.SUCCESS
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the hub: the JSON of its body (None without one), path and query values."""

    method: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: JSON


Door = Callable[[Asked], Awaitable[Answer]]


class _Server(uvicorn.Server):
    """Leaves the signals to the process that it lives in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Platform:
    """One partner with one role. `serving()` opens its doors; `register` begins a handshake from its side."""

    def __init__(
        self, role: str, country_code: str, party_id: str, name: str, *, token_a: str | None = None
    ) -> None:
        self.role, self.party, self.name = role, PartyId(country_code, party_id), name
        self.token_a = token_a or secrets.token_urlsafe(24)
        self.url = ""
        self.hub: PartyId | None = None
        self.reachable: list[PartyId] = []
        self.endpoints: dict[tuple[str, str], str] = {}
        self.registered = asyncio.Event()
        self.violations: list[str] = []
        self.requests = 0
        self._granted: str | None = None
        self._theirs = ""
        self._modules: list[tuple[str, str]] = []
        self._app = FastAPI(openapi_url=None, redirect_slashes=False)
        self._http = httpx.AsyncClient(timeout=10, trust_env=False)
        self._open("/ocpi/versions", ("GET",), self._versions, configuration=True)
        self._open(BASE, ("GET",), self._details, configuration=True)
        self._open(
            f"{BASE}/credentials", ("GET", "POST", "PUT", "DELETE"), self._credentials, configuration=True
        )

    # -- its doors ---------------------------------------------------------------------------------------------

    @property
    def versions_url(self) -> str:
        return f"{self.url}/ocpi/versions"

    def endpoint(self, module: str, interface: str) -> str:
        """The URL of one of our own endpoints; `interface` is SENDER or RECEIVER."""
        return f"{self.url}{BASE}/{interface.lower()}/{module}"

    def open(
        self, module: str, interface: str, paths: Mapping[str, Door], methods: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Serve a module: doors by the path below its endpoint, and each one's HTTP methods."""
        self._modules.append((module, interface))
        for path, door in paths.items():
            self._open(f"{BASE}/{interface.lower()}/{module}{path}", methods[path], door)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Open the doors on a free port of 127.0.0.1."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = _Server(
            uvicorn.Config(
                self._app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False
            )
        )
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield
        finally:
            server.should_exit = True
            await asyncio.gather(running, return_exceptions=True)
            await self._http.aclose()
            listening.close()

    def _open(self, path: str, methods: tuple[str, ...], door: Door, *, configuration: bool = False) -> None:
        async def answer(request: Request) -> Response:
            return await self._answer(request, door, configuration)

        self._app.add_api_route(path, answer, methods=list(methods), response_model=None)

    async def _answer(self, request: Request, door: Door, configuration: bool) -> Response:
        self.requests += 1
        headers = {name: request.headers.get(name, "") for name in (REQUEST_ID, CORRELATION_ID)}
        for name, value in headers.items():
            if not value:
                self.violation(request, f"no {name}")
        if not self._allowed(request, configuration):
            answer = Answer(http=401, status_code=StatusCode.CLIENT_ERROR, message="unknown token")
        else:
            try:
                headers |= self._routing(request, configuration)
                raw = await request.body()
                body = decode(raw) if raw else None
                query = dict(request.query_params)
                answer = await door(Asked(request.method, request.path_params, query, body))
            except NotJsonError as error:
                self.violation(request, str(error))
                answer = Answer(http=400, status_code=StatusCode.CLIENT_ERROR, message=str(error))
            except OcpiInvalidError as error:
                self.violation(request, str(error))
                answer = Answer(status_code=StatusCode.INVALID_PARAMETERS, message=str(error))
            except ClientDisconnect:
                # The hub was gone before its body was here: nobody hears this answer.
                answer = Answer(http=400, status_code=StatusCode.CLIENT_ERROR)
        content = respond(
            datetime.now(UTC), answer.data, status_code=answer.status_code, status_message=answer.message
        )
        return Response(content, answer.http, {**headers, **answer.headers}, "application/json")

    def violation(self, request: Request | str, text: str) -> None:
        """Note in what the hub did not keep to the standard."""
        where = request if isinstance(request, str) else f"{request.method} {request.url.path}"
        self.violations.append(f"{self.role} {where}: {text}")

    def _allowed(self, request: Request, configuration: bool) -> bool:
        good = [token for token in (self._granted,) if token]
        if configuration and self._granted is None:
            good.append(self.token_a)
        told = decode_token(request.headers.get("Authorization", ""))
        return any(hmac.compare_digest(token, known) for token in told for known in good)

    def _routing(self, request: Request, configuration: bool) -> dict[str, str]:
        """The routing headers of the answer: those of the request, turned round."""
        routing = read_routing(request.headers)
        if configuration:
            if routing.to or routing.sender:
                self.violation(request, "routing headers on a configuration module")
            return {}
        if routing.to is None or routing.sender is None:
            raise OcpiInvalidError(
                "OCPI-to-party-id", "a functional module needs both pairs of routing headers"
            )
        if routing.to.key != self.party.key:
            self.violation(request, f"is for {routing.to.country_code}*{routing.to.party_id}")
        return write_routing(routing.sender, self.party)

    # -- registration ------------------------------------------------------------------------------------------

    async def _versions(self, asked: Asked) -> Answer:
        return Answer([{"version": VERSION, "url": f"{self.url}{BASE}"}])

    async def _details(self, asked: Asked) -> Answer:
        endpoints: list[JSON] = [
            {"identifier": "credentials", "role": "SENDER", "url": f"{self.url}{BASE}/credentials"}
        ]
        endpoints += [
            {"identifier": module, "role": interface, "url": self.endpoint(module, interface)}
            for module, interface in self._modules
        ]
        return Answer({"version": VERSION, "endpoints": endpoints})

    async def _credentials(self, asked: Asked) -> Answer:
        """The receiver's side: token B is used before the answer, then token A is dead."""
        match asked.method:
            case "GET":
                return Answer(self._ours(self._granted or self.token_a))
            case "DELETE":
                if self._granted is None:
                    return Answer(http=405, status_code=StatusCode.CLIENT_ERROR, message="not registered")
                self._granted = None
                self.registered.clear()
                return Answer()
        if (asked.method == "POST") == self.registered.is_set():
            return Answer(http=405, status_code=StatusCode.CLIENT_ERROR, message="POST once, then PUT")
        theirs = parse_json(Credentials, asked.body)
        try:
            await self._discover(theirs.url, theirs.token)
        except OcpiFailedError as error:
            return Answer(status_code=StatusCode.UNABLE_TO_USE_CLIENT_API, message=str(error))
        self._take(theirs)
        self._granted = secrets.token_urlsafe(24)
        return Answer(self._ours(self._granted))

    async def register(self, versions_url: str, token_a: str) -> None:
        """The sender's side: versions, details and credentials with token A; the hub calls back with token B."""
        await self._discover(versions_url, token_a)
        token_b = secrets.token_urlsafe(24)
        self._granted, before = token_b, self._granted
        url = self.endpoints.get(("credentials", "SENDER")) or self.endpoints.get(("credentials", "RECEIVER"))
        if url is None:
            raise OcpiFailedError("the hub names no credentials endpoint")
        try:
            data = await self.ask("POST", url, self._ours(token_b), token=token_a, routed=False)
            self._take(parse_json(Credentials, data))
        except (OcpiFailedError, OcpiInvalidError):
            self._granted = before
            raise

    def _take(self, theirs: Credentials) -> None:
        self._theirs = theirs.token
        if theirs.hub_party_id is None:
            self.violation("credentials", "a hub names its hub_party_id")
        else:
            self.hub = PartyId(theirs.hub_party_id[:2], theirs.hub_party_id[2:])
        self.reachable = [PartyId(r.country_code, r.party_id) for r in theirs.roles if r.role == "CPO"]
        self.registered.set()

    def _ours(self, token: str) -> dict[str, JSON]:
        return {
            "token": token,
            "url": self.versions_url,
            "roles": [
                {
                    "role": self.role,
                    "country_code": self.party.country_code,
                    "party_id": self.party.party_id,
                    "business_details": {"name": self.name},
                }
            ],
        }

    async def _discover(self, versions_url: str, token: str) -> None:
        data = await self.ask("GET", versions_url, token=token, routed=False)
        versions = [parse_json(Version, item) for item in data] if isinstance(data, list) else []
        url = next((v.url for v in versions if v.version == VERSION), None)
        if url is None:
            raise OcpiFailedError(f"{versions_url} offers no {VERSION}")
        details = parse_json(VersionDetails, await self.ask("GET", url, token=token, routed=False))
        self.endpoints = {(e.module, e.role.value): e.url for e in details.endpoints}

    # -- requests to the hub -----------------------------------------------------------------------------------

    async def ask(
        self,
        method: str,
        url: str,
        body: JSON = None,
        *,
        token: str | None = None,
        routed: bool = True,
        to: PartyId | None = None,
    ) -> JSON:
        """The `data` of the hub's answer; it is for `to`, or the hub. Raises OcpiFailedError."""
        response = await self.send(method, url, body, token=token, routed=routed, to=to)
        try:
            envelope = decode(response.content)
        except (NotJsonError, OcpiInvalidError):
            envelope = None
        code = envelope.get("status_code") if isinstance(envelope, dict) else None
        if not isinstance(envelope, dict) or not isinstance(code, int):
            raise OcpiFailedError(f"{method} {url}: HTTP {response.status_code} without an envelope")
        if response.status_code >= 400 or not is_success(code):
            message = envelope.get("status_message")
            raise OcpiFailedError(f"{method} {url}: HTTP {response.status_code}, {code} {message}")
        return envelope.get("data")

    async def send(
        self,
        method: str,
        url: str,
        body: JSON = None,
        *,
        token: str | None = None,
        routed: bool = True,
        to: PartyId | None = None,
    ) -> httpx.Response:
        """The hub's answer as it came. Raises OcpiFailedError where none did."""
        request_id = str(uuid4())
        headers = {
            "Authorization": encode_token(token or self._theirs),
            REQUEST_ID: request_id,
            CORRELATION_ID: str(uuid4()),
        }
        if routed:
            headers |= write_routing(to or self.hub, self.party)
        content = None
        if body is not None:
            content, headers["Content-Type"] = dump(body), "application/json"
        try:
            response = await self._http.request(method, url, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise OcpiFailedError(f"{method} {url}: {type(error).__name__} {error}") from None
        if response.headers.get(REQUEST_ID) != request_id:
            self.violation(f"{method} {url}", f"the answer does not repeat {REQUEST_ID}")
        return response


def text_of(value: JSON, name: str) -> str:
    """A text field of an object; OcpiInvalidError where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, str):
        raise OcpiInvalidError(name, "must be a text")
    return found
