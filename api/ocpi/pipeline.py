"""The door: what all OCPI requests have in common. A request enters, an envelope leaves, whatever happens.

One route takes every path below `/ocpi`, so that nothing is redirected, nothing is answered in another form, and ids
in the path are decoded segment by segment. In this order: message ids, authorization, rate limit, size, routing
headers, then the function that serves the path (`routes`).

HTTP | when
-----|-----
200  | it reached OCPI, whatever its status code says
400  | the body is no JSON
401  | no token, an unknown one, or a token A beyond versions and credentials
404  | nothing is there, or it belongs to somebody else
405  | the method is not for this; credentials: POST when registered, PUT and DELETE when not
413  | the body is too long
429  | too many requests; Retry-After says when there is room again
503  | the log or the read store is away; Retry-After says when to try again
"""

from __future__ import annotations

import hmac
import logging
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote, unquote

from fastapi import APIRouter, Request, Response
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import ClientDisconnect

from api.ocpi.call import VERSIONS, Access, Answer, Call, not_found
from api.ocpi.ports import Ports
from api.ocpi.routes import OPEN, PARTNER_PATHS, serve_module
from application.vault import DestroyedError
from commands.partner import TOKEN_DIGEST
from domain.values import PartyId
from projections.moment import utc_text
from projections.store import HUB, Query, StoreError, StoreUnavailableError, has
from protocols.ocpi import NotJsonError, OcpiInvalidError
from protocols.ocpi import envelope as wire
from protocols.ocpi.envelope import CORRELATION_ID, REQUEST_ID, Routing, StatusCode
from streams.log import LogUnavailableError

logger = logging.getLogger(__name__)

RETRY_AFTER: Final = 5
"""Seconds after which it is worth trying again while a neighbour is away."""

ALIASES: Final = {"2.3": "2.3.0"}
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


class AnyPath(PathConvertor):
    """Any text: starlette's own `path` knows no line breaks, which `%0A` puts into one."""

    regex = "(?s:.*)"


register_url_convertor("any_path", AnyPath())


def ocpi_router(ports: Ports) -> APIRouter:
    """Everything below `/ocpi`; to be included without a prefix."""
    router = APIRouter(prefix="/ocpi", include_in_schema=False)
    door = Door(ports)

    async def handle(request: Request) -> Response:
        return await door.handle(request)

    router.add_api_route("", handle, methods=_METHODS, response_model=None)
    router.add_api_route("/{path:any_path}", handle, methods=_METHODS, response_model=None)
    return router


class Door:
    """Answers requests; never raises."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def handle(self, request: Request) -> Response:
        headers = request.headers
        request_id = _printable(headers.get(REQUEST_ID)) or self._ports.new_id()
        ids = {
            REQUEST_ID: request_id,
            CORRELATION_ID: _printable(headers.get(CORRELATION_ID)) or self._ports.new_id(),
        }
        at = self._ports.clock()
        try:
            answer = await self._answer(request, ids, at)
        except NotJsonError as error:
            answer = Answer(status_code=StatusCode.CLIENT_ERROR, message=str(error), http=400)
        except OcpiInvalidError as error:
            answer = Answer(status_code=StatusCode.INVALID_PARAMETERS, message=str(error))
        except (LogUnavailableError, StoreUnavailableError) as error:
            logger.warning("OCPI %s %s: %s", request.method, _place(request), error)
            answer = _away()
        except (StoreError, DestroyedError) as error:
            logger.error("OCPI %s %s: %s", request.method, _place(request), error)
            answer = Answer(status_code=StatusCode.SERVER_ERROR, message="it cannot be done here", http=500)
        except ClientDisconnect:
            answer = Answer(status_code=StatusCode.CLIENT_ERROR, message="the body did not come", http=400)
        except Exception:
            logger.exception("OCPI %s %s, %s %s", request.method, _place(request), REQUEST_ID, request_id)
            answer = Answer(status_code=StatusCode.SERVER_ERROR, message="an error of ours", http=500)
        body = wire.respond(
            self._ports.clock(), answer.data, status_code=answer.status_code, status_message=answer.message
        )
        return Response(
            content=body,
            status_code=answer.http,
            headers={**ids, **answer.headers},
            media_type="application/json",
        )

    async def _answer(self, request: Request, ids: Mapping[str, str], at: datetime) -> Answer:
        access = await self._authorize(request.headers.get("authorization", ""), at)
        if access is None:
            address = request.client.host if request.client else ""
            verdict = await self._ports.limiter.take(f"ocpi|unknown|{address}", 50.0, 5.0)
            if not verdict.allowed:
                return _too_many("too many requests with unknown tokens", verdict.retry_after)
            return _unauthorized("the Authorization header holds no token that is known here")
        segments = _segments(request)
        if segments is None or not segments:
            return not_found("there is nothing at this path; begin at /ocpi/versions")
        version = ALIASES.get(segments[0], segments[0])
        if version not in (*VERSIONS, "versions"):
            return not_found(f"version {version[:20]!r} is not offered; see /ocpi/versions")
        rest = segments[1:]
        area = "versions" if version == "versions" or not rest else rest[0]
        if access.kind != "full" and (area not in OPEN or (access.kind == "pending" and area != "versions")):
            return _unauthorized(
                "this token opens nothing but versions and credentials until the registration"
            )
        module = rest[1] if area in PARTNER_PATHS and len(rest) > 1 else area
        verdict = await self._ports.limiter.take(
            f"ocpi|{access.partner_id}|{module[:32]}", self._ports.burst, self._ports.rate
        )
        if not verdict.allowed:
            return _too_many(f"too many requests to {module[:32]}", verdict.retry_after)
        body = await self._body(request)
        if body is None:
            return Answer(
                status_code=StatusCode.CLIENT_ERROR,
                message=f"a body may have {self._ports.max_body} bytes",
                http=413,
                headers={"Connection": "close"},
            )
        functional = area in PARTNER_PATHS
        call = Call(
            ports=self._ports,
            method=request.method,
            path="/".join(("/ocpi", version, *(quote(segment, safe="") for segment in rest))),
            version=version,
            segments=tuple(rest),
            query=dict(request.query_params),
            body=body,
            access=access,
            routing=wire.read_routing(request.headers) if functional else Routing(None, None),
            request_id=ids[REQUEST_ID],
            correlation_id=ids[CORRELATION_ID],
            at=at,
        )
        answer = await serve_module(call)
        if not functional:
            return answer
        return _with(answer, self._routing(call))

    async def _authorize(self, header: str, at: datetime) -> Access | None:
        for token in _tokens(header):
            digest = self._ports.vault.digest(TOKEN_DIGEST, token)
            page = await self._ports.store.find(Query(HUB, "partners", (has("digests", digest),), limit=1))
            for partner in page.items:
                for name, kind in (
                    ("digest_c", "full"),
                    ("grace", "full"),
                    ("digest_a", "register"),
                    ("digest_pending", "pending"),
                ):
                    known = partner.get(name)
                    if not isinstance(known, str) or not hmac.compare_digest(known, digest):
                        continue
                    if name == "grace" and str(partner.get("grace_until")) <= str(utc_text(at)):
                        continue
                    return Access(partner, kind, digest, token)
        return None

    async def _body(self, request: Request) -> bytes | None:
        """The body; None where it is longer than allowed, and then the rest of it is not read."""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._ports.max_body:
            return None
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._ports.max_body:
                return None
        return bytes(body)

    def _routing(self, call: Call) -> dict[str, str]:
        """Of an answer: to the party that asked, from the one that was asked; the hub where nobody was named."""
        asked, asker = call.routing.to, call.routing.sender
        if asker is None and len(call.access.parties) == 1:
            country_code, _, party_id = next(iter(call.access.parties)).partition("*")
            asker = wire.PartyId(country_code, party_id)
        return wire.write_routing(asker, asked or _wire_party(self._ports.hub))


def _tokens(header: str) -> tuple[str, ...]:
    """What an Authorization header may mean; last as Base64 of the alphabet for URLs or without its padding."""
    text = header.strip()
    scheme, _, credentials = text.partition(" ")
    usual = credentials.strip().replace("-", "+").replace("_", "/")
    padded = f"{scheme} {usual}{'=' * (-len(usual) % 4)}"
    return tuple(dict.fromkeys((*wire.decode_token(text), *wire.decode_token(padded)[:1])))


def _with(answer: Answer, headers: Mapping[str, str]) -> Answer:
    return Answer(answer.data, answer.status_code, answer.message, answer.http, {**headers, **answer.headers})


def _wire_party(party: PartyId) -> wire.PartyId:
    return wire.PartyId(party.country_code, party.party_id)


def _printable(value: str | None) -> str:
    """A message id that can be sent back; longer ones are cut."""
    text = (value or "").strip()[:255]
    return text if text.isascii() and text.isprintable() else ""


def _segments(request: Request) -> list[str] | None:
    """The path below `/ocpi`, taken apart before it is decoded; None where it is no UTF-8."""
    raw = request.scope.get("raw_path")
    path = bytes(raw).decode("ascii", "replace") if raw else quote(request.scope["path"])
    below = path.partition("?")[0].partition("/ocpi")[2]
    try:
        return [unquote(part, errors="strict") for part in below.split("/") if part]
    except UnicodeDecodeError:
        return None


def _place(request: Request) -> str:
    """Version, role and module of a path for the log; what follows may be the uid of a token."""
    return "/".join((_segments(request) or [])[:3])


def _unauthorized(message: str) -> Answer:
    return Answer(
        status_code=StatusCode.CLIENT_ERROR,
        message=message,
        http=401,
        headers={"WWW-Authenticate": "Token"},
    )


def _too_many(message: str, seconds: float) -> Answer:
    return Answer(
        status_code=StatusCode.CLIENT_ERROR,
        message=message,
        http=429,
        headers={"Retry-After": str(max(1, math.ceil(seconds)))},
    )


def _away() -> Answer:
    return Answer(
        status_code=StatusCode.SERVER_ERROR,
        message="it cannot be kept at the moment; try again",
        http=503,
        headers={"Retry-After": str(RETRY_AFTER)},
    )
