"""A small OCPI platform over real HTTP, written against the standard alone: it registers and can be registered with.

Everything that it is asked is kept; `spoil` names what it does wrong.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

STAMP = "2026-03-01T12:00:00Z"


def base64_header(token: str) -> str:
    return "Token " + base64.b64encode(token.encode()).decode()


def enveloped(data: Any = None, status_code: int = 1000, http: int = 200) -> JSONResponse:
    body = {"status_code": status_code, "timestamp": STAMP}
    if data is not None:
        body["data"] = data
    return JSONResponse(body, http)


@dataclass
class Platform:
    """An eMSP. `accepts` are the tokens with which it may be called; `ours` is the one that it uses with the hub."""

    party: str = "NL*TNM"
    role: str = "EMSP"
    versions: tuple[str, ...] = ("2.2.1", "2.3.0")
    modules: tuple[str, ...] = ("credentials", "sessions", "cdrs")
    lists: dict[str, list[Any]] = field(default_factory=dict)
    """What it offers as a sender, by module."""
    accepts: list[str] = field(default_factory=list)
    ours: str = ""
    raw_tokens: bool = False
    made: int = 0
    base: str = ""
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    spoil: dict[str, Callable[[], Response]] = field(default_factory=dict)
    hub_versions: str = ""
    on_credentials: Callable[[dict[str, Any]], Awaitable[None]] | None = None

    @property
    def app(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "DELETE"]
        return Starlette(
            routes=[
                Route("/versions", self.serve_versions),
                Route("/{version}/details", self.serve_details),
                Route("/{version}/lists/{module}", self.serve_list),
                Route("/{version}/credentials", self.serve_credentials, methods=methods),
            ]
        )

    def credentials(self, token: str, /, **changes: Any) -> dict[str, Any]:
        country_code, _, party_id = self.party.partition("*")
        return {
            "token": token,
            "url": f"{self.base}/versions",
            "roles": [
                {
                    "role": self.role,
                    "country_code": country_code,
                    "party_id": party_id,
                    "business_details": {"name": "The New Motion"},
                }
            ],
            **changes,
        }

    def refused(self, request: Request, what: str, *, routed: bool = False) -> Response | None:
        header = request.headers.get("authorization", "")
        self.seen.append((request.method, request.url.path, header))
        if what in self.spoil:
            return self.spoil[what]()
        known = [f"Token {t}" if self.raw_tokens else base64_header(t) for t in self.accepts]
        if header not in known:
            return JSONResponse({"detail": "no"}, 401)
        assert request.headers["x-request-id"] and request.headers["x-correlation-id"]
        assert routed == any(name.lower().startswith("ocpi-") for name in request.headers)
        return None

    async def serve_versions(self, request: Request) -> Response:
        return self.refused(request, "versions") or enveloped(
            [{"version": v, "url": f"{self.base}/{v}/details"} for v in self.versions]
        )

    async def serve_details(self, request: Request) -> Response:
        version = request.path_params["version"]
        return self.refused(request, "details") or enveloped(
            {
                "version": version,
                "endpoints": [
                    {"identifier": m, "role": "RECEIVER", "url": f"{self.base}/{version}/{m}"}
                    for m in self.modules
                ]
                + [
                    {"identifier": m, "role": "SENDER", "url": f"{self.base}/{version}/lists/{m}"}
                    for m in self.lists
                ],
            }
        )

    async def serve_list(self, request: Request) -> Response:
        module = request.path_params["module"]
        refused = self.refused(request, module, routed=module != "hubclientinfo")
        if refused is not None:
            return refused
        assert request.query_params["date_from"].endswith("Z")
        found = self.lists[module]
        answer = enveloped(found[: int(request.query_params["limit"])])
        answer.headers["X-Total-Count"] = str(len(found))
        return answer

    async def serve_credentials(self, request: Request) -> Response:
        refused = self.refused(request, "credentials")
        if refused is not None:
            return refused
        version = request.path_params["version"]
        if request.method == "DELETE":
            self.accepts.clear()
            return enveloped()
        theirs = await request.json()
        assert request.headers["content-type"].startswith("application/json")
        if self.on_credentials is not None:
            await self.on_credentials(theirs)
        # The standard: versions and details with the token that came, before the answer.
        async with httpx.AsyncClient(headers={"Authorization": base64_header(theirs["token"])}) as client:
            found = (await client.get(theirs["url"])).json()
            if found["status_code"] != 1000:
                return enveloped(status_code=3001)
            url = next(v["url"] for v in found["data"] if v["version"] == version)
            details = (await client.get(url)).json()
            assert details["data"]["version"] == version
        self.ours = theirs["token"]
        return enveloped(self.credentials(self.next_token()))

    def next_token(self) -> str:
        """A new token with which the hub may call; the older ones die."""
        self.made += 1
        self.accepts[:] = [f"made-there-{self.made}"]
        return self.accepts[0]
