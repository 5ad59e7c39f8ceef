"""Errors of `/api/v1` as problem details (RFC 9457): whatever goes wrong enters, one JSON object leaves.

`ProblemError` is raised by the routes; `ProblemRoute` turns it, refused input and neighbours that are away into
answers, so that the doors beside this one keep their own form. One table says which HTTP status a refusal has.
Every answer bears the id of its request, the caller's own where it sent one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import msgspec
from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from application.vault import DestroyedError
from commands.base import Refusal
from domain.errors import ChargeSphereError
from projections.store import BadCursorError, StoreUnavailableError
from protocols.nesting import DEEPEST, nests_deeper
from streams.log import LogUnavailableError
from streams.log.envelope import Reply

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
REQUEST_ID: Final = "X-Request-ID"
LARGEST_BODY: Final = 1_000_000
RETRY_AFTER: Final = 5
"""Seconds after which it is worth trying again while a neighbour is away."""

STATUS_OF: Final[Mapping[Refusal, int]] = {
    Refusal.UNKNOWN: 404,
    Refusal.ALREADY_EXISTS: 409,
    Refusal.CONFLICT: 409,
    Refusal.INVALID: 422,
    Refusal.NOT_ALLOWED: 409,
    Refusal.FORBIDDEN: 403,
    Refusal.NOT_CONNECTED: 409,
    Refusal.STALE: 409,
    Refusal.EXPIRED: 503,
    Refusal.FAILED: 500,
}


class FieldError(msgspec.Struct, frozen=True, rename={"place": "in"}):
    """One wrong value: where it stood (`body`, `query`, `path`, `header`, or the `cdr` that cannot be issued), its
    dotted path, and what is wrong."""

    place: str
    path: str
    message: str


ERRORS_MOST: Final = 100
"""Fields that an answer says are wrong: 10,000 ids in a body may be so, each of which would be a line of it."""


class ProblemError(ChargeSphereError):
    """An answer that is an error. `detail` is one line for a person and never quotes secrets."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str = "",
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code or HTTPStatus(status).phrase.lower().replace(" ", "_")
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def response(self) -> Response:
        body: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            body["errors"] = self.errors
        return Response(msgspec.json.encode(body), self.status, self.headers, MEDIA_TYPE)


def not_found(what: str) -> ProblemError:
    """Unknown, or somebody else's: both look alike."""
    return ProblemError(404, f"{what} is not known", code="unknown")


def invalid(place: str, path: str, message: str) -> ProblemError:
    """One wrong value."""
    return ProblemError(
        422,
        f"{path}: {message}",
        code="invalid",
        errors=(FieldError(place=place, path=path, message=message),),
    )


def forbidden(place: str, path: str, message: str) -> ProblemError:
    """A value that is not the caller's to give."""
    return ProblemError(
        403, f"{path}: {message}", errors=(FieldError(place=place, path=path, message=message),)
    )


def refused(reply: Reply) -> ProblemError:
    """The refusal of a decision."""
    assert reply.refusal is not None
    status = STATUS_OF[reply.refusal]
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    detail = "the request could not be processed" if reply.refusal is Refusal.FAILED else reply.message
    return ProblemError(status, detail, code=reply.refusal.value, headers=headers)


class ProblemRoute(APIRoute):
    """A route whose errors are problem details, which takes no query parameter that it does not know, and whose
    bodies have bounds: so many bytes, and so deep."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = frozenset(_query_names(self.dependant))

        async def handler(request: Request) -> Response:
            id = _request_id(request)
            try:
                unknown = [name for name in request.query_params if name not in known]
                if unknown and self.include_in_schema:
                    raise invalid("query", unknown[0][:100], "there is no such parameter here")
                response = await handle(Request(request.scope, await _read(request)))
            except Exception as error:
                response = problem_of(error, id).response()
            response.headers[REQUEST_ID] = id
            return response

        return handler


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for one in dependant.dependencies:
        yield from _query_names(one)


def _request_id(request: Request) -> str:
    """The caller's, where it can stand in a line of a log; else a new one."""
    given = request.headers.get(REQUEST_ID, "")
    return given if 0 < len(given) <= 128 and given.isascii() and given.isprintable() else str(uuid4())


async def no_such_path(request: Request, error: Exception) -> Response:
    """The answer where no door has a route; for `add_exception_handler`."""
    return problem_of(error).response()


def problem_of(error: Exception, request_id: str = "") -> ProblemError:
    """What an exception is to the caller; what nobody foresaw is logged and is a 500 without its text."""
    match error:
        case ProblemError():
            return error
        case RequestValidationError():
            return _of_validation(error)
        case BadCursorError():
            return invalid("query", "cursor", "not a cursor of this list with these filters")
        case LogUnavailableError() | StoreUnavailableError():
            logger.warning("answered 503: %s", error)
            return ProblemError(
                503, "the service is not available for the moment", headers={"Retry-After": str(RETRY_AFTER)}
            )
        case DestroyedError():
            return ProblemError(409, "its key was destroyed: nothing can be kept for it any more")
        case UnicodeEncodeError():
            return ProblemError(
                422, "a text holds half a surrogate pair, which no encoding can carry", code="invalid"
            )
        case ClientDisconnect():
            return ProblemError(400, "the body did not come")
        case HTTPException() | StarletteHTTPException():
            return ProblemError(error.status_code, str(error.detail), headers=error.headers)
        case _:
            logger.exception("request %s failed", request_id, exc_info=error)
            return ProblemError(500, "the request could not be processed")


def _of_validation(error: RequestValidationError) -> ProblemError:
    found = []
    for one in error.errors()[:ERRORS_MOST]:
        place, *path = one["loc"]
        if one["type"] == "json_invalid":
            path = []
        message = str(one["msg"])
        found.append(
            FieldError(place=str(place), path=".".join(map(str, path)) or str(place), message=message)
        )
    first = found[0]
    return ProblemError(422, f"{first.path}: {first.message}", code="invalid", errors=found)


async def _read(request: Request) -> Receive:
    """The body, read as a whole, as a stream. Raises HTTPException 413 beyond the bound, Problem beyond the depth."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > LARGEST_BODY:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise _too_large()
    if nests_deeper(body):
        raise invalid("body", "body", f"must not nest deeper than {DEEPEST}")
    messages = iter(({"type": "http.request", "body": bytes(body), "more_body": False},))

    async def receive() -> Message:
        return next(messages, None) or await request.receive()

    return receive


def _too_large() -> HTTPException:
    # Not a Problem: FastAPI takes every other exception from the stream for a broken body.
    return HTTPException(413, f"a body has at most {LARGEST_BODY} bytes")
