"""The description of the HTTP doors at `/openapi.json`, and a page at `/docs` that shows it.

What FastAPI knows of the routes enters; what it cannot know is added: errors, the headers of every route, what can be
asked of a charge point. The page is served from here and loads nothing from elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.utils import get_openapi

from api.page import policy_of
from api.problems import MEDIA_TYPE, REQUEST_ID
from api.v1.answers import ANSWERS
from api.v1.scopes import scope_of
from commands.remote_command_request import COMMANDS, ONE_EACH

PAGE: Final = (Path(__file__).parent / "docs.html").read_text(encoding="utf-8")
PREFIX: Final = "/api/v1"
SCHEME: Final = "HTTPBearer"
"""How callers say who they are; a key with scopes needs the one that is named at the route."""
WRITES: Final = frozenset(("post", "put", "patch", "delete"))
ABOUT: Final = (
    "Every answer bears `X-Request-ID`, the caller's own where it sent one. Errors are problem details (RFC 9457). "
    "A write with an `Idempotency-Key` is made once: sent again within 24 hours it gets the first answer, and 409 "
    "where the same key comes with another request. Lists have `limit`, `cursor`, `from` and `to`; `next_cursor` is "
    "null on the last page. 429 and 503 say `Retry-After` in seconds."
)
PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "the status in words"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "one line for a person"},
        "code": {"type": "string", "description": "for programs, e.g. unknown, conflict, invalid"},
        "errors": {
            "type": "array",
            "description": "each wrong value",
            "items": {
                "type": "object",
                "required": ["in", "path", "message"],
                "properties": {name: {"type": "string"} for name in ("in", "path", "message")},
            },
        },
    },
    "example": {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "parameters.type: must be one of Hard, Soft",
        "code": "invalid",
        "errors": [{"in": "body", "path": "parameters.type", "message": "must be one of Hard, Soft"}],
    },
}
_REQUEST_ID: Final = {"description": "of this request, for questions", "schema": {"type": "string"}}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "makes the write once, however often it is sent within 24 hours",
    "schema": {"type": "string", "maxLength": 128},
}


def describe(app: FastAPI) -> None:
    """`/openapi.json` of this application is as `described` says."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = described(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def described(app: FastAPI) -> dict[str, Any]:
    """The whole description."""
    whole = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
    schemas = whole.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    if command := schemas.get("NewCommand"):
        command["properties"]["command_type"] |= {"enum": sorted(COMMANDS), "description": _commands()}
        command["example"] = {"command_type": "reset", "parameters": {"type": "Soft"}}
    if job := schemas.get("NewJob"):
        job["properties"]["command_type"] |= {"enum": sorted(ONE_EACH), "description": _commands()}
        job["example"] = {
            "command_type": "reset",
            "parameters": {"type": "Soft"},
            "charge_points": {"filter": {"vendor": "Exa"}},
            "at_once": 10,
            "stop_after_failures": {"percent": 5},
        }
    for name, known in ANSWERS.items():
        method, path, status = name.split(" ")
        operation = whole["paths"].get(PREFIX + path.replace(":path}", "}"), {}).get(method.lower(), {})
        response = operation.get("responses", {}).setdefault(status, {"description": "as it was asked"})
        content = response.setdefault("content", {}).setdefault("application/json", {})
        content["schema"] = content.get("schema") or known["schema"]
        content["example"] = known["example"]
    for path, operations in whole["paths"].items():
        if path.startswith(PREFIX):
            for method, operation in operations.items():
                _complete(method, operation)
    return whole


def _complete(method: str, operation: dict[str, Any]) -> None:
    operation["security"] = [{SCHEME: [scope_of(operation["tags"], method)]}]
    responses = operation["responses"]
    responses.pop("422", None)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses["default"] = {"description": "an error", "content": content}
    for status, response in responses.items():
        if status.startswith("4"):
            response["content"] = content
        response.setdefault("headers", {})[REQUEST_ID] = _REQUEST_ID
    if method in WRITES:
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)


def _commands() -> str:
    return (
        "What is asked of a charge point; the parameters of each stand in docs/commands.md, in snake case. "
        f"There are {', '.join(sorted(COMMANDS))}."
    )


def docs_router() -> APIRouter:
    """`GET /docs`."""
    router = APIRouter()
    headers = policy_of(PAGE)

    @router.get("/docs", include_in_schema=False)
    async def page() -> Response:
        return Response(PAGE, 200, headers, "text/html")

    return router
