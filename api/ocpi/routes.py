"""Which function serves which path, and in which roles the hub offers a module: what version details list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from api.ocpi import (
    cdrs,
    client_infos,
    commands,
    credentials,
    locations,
    sessions,
    tariffs,
    tokens,
    versions,
)
from api.ocpi.addressing import wrong_role, wrong_route
from api.ocpi.call import SUSPENDED, Answer, Call, not_allowed, not_found, refused
from protocols.ocpi.access import rule

Handler = Callable[[Call], Awaitable[Answer]]

OPEN: Final = frozenset({"versions", "credentials"})
"""What a token A opens: the configuration modules. They carry no routing headers."""

PARTNER_PATHS: Final = frozenset({"sender", "receiver"})
"""The first segment of functional modules: the role that the hub plays."""

CREDENTIALS: Final[Mapping[str, Handler]] = {
    "GET": credentials.get,
    "POST": credentials.post,
    "PUT": credentials.put,
    "DELETE": credentials.delete,
}

MODULES: Final[Mapping[tuple[str, str], Mapping[tuple[str, int], Handler]]] = {
    ("sender", "cdrs"): {("GET", 0): cdrs.get_list},
    ("sender", "locations"): {
        ("GET", 0): locations.get_list,
        **{("GET", depth): locations.get for depth in (1, 2, 3)},
    },
    ("sender", "sessions"): {("GET", 0): sessions.get_list},
    ("sender", "tariffs"): {("GET", 0): tariffs.get_list},
    ("sender", "tokens"): {("GET", 0): tokens.get_list, ("POST", 2): tokens.authorize},
    ("receiver", "commands"): {("POST", 1): commands.post},
    ("receiver", "locations"): {
        (method, depth): handler
        for depth in (3, 4, 5)
        for method, handler in (
            ("GET", locations.get_pushed),
            ("PUT", locations.put),
            ("PATCH", locations.patch),
        )
    },
    ("receiver", "cdrs"): {("POST", 0): cdrs.post, ("GET", 1): cdrs.get},
    ("receiver", "sessions"): {
        ("GET", 3): sessions.get,
        ("PUT", 3): sessions.put,
        ("PATCH", 3): sessions.patch,
    },
    ("receiver", "tariffs"): {
        ("GET", 3): tariffs.get,
        ("PUT", 3): tariffs.put,
        ("DELETE", 3): tariffs.delete,
    },
    ("receiver", "tokens"): {("GET", 3): tokens.get, ("PUT", 3): tokens.put, ("PATCH", 3): tokens.patch},
}
"""(role of the hub, module) → (method, segments that follow) → function. Who may call: `protocols.ocpi.access`."""


async def serve_module(call: Call) -> Answer:
    """The answer of the function that serves the path."""
    if call.version == "versions" or not call.segments:
        if call.version == "versions" and call.segments:
            return not_found("there is nothing at this path; begin at /ocpi/versions")
        if call.method not in ("GET", "HEAD"):
            return _other_method(call, {"GET"})
        return (
            versions.get_list(call)
            if call.version == "versions"
            else versions.get_details(call, tuple(MODULES))
        )
    area, *rest = call.segments
    if area == "credentials" and not rest:
        handler = CREDENTIALS.get(call.method)
        return await handler(call) if handler else _other_method(call, set(CREDENTIALS))
    if area == "hubclientinfo" and not rest:
        if call.method != "GET":
            return _other_method(call, {"GET"})
        return refused(SUSPENDED) if call.access.suspended else await client_infos.get_list(call)
    table = MODULES.get((area, rest[0])) if rest else None
    if table is None:
        return not_found("there is no such module here; see the version details")
    depth = len(rest) - 1
    handler = table.get((call.method, depth))
    if handler is None:
        methods = {method for method, length in table if length == depth}
        return _other_method(call, methods) if methods else not_found("there is nothing at this path")
    if call.access.suspended:
        return refused(SUSPENDED)
    row = rule(call.version, area, rest[0], call.method, tuple(rest[1:]))
    if row is None:
        return not_found("the standard has no such call")
    return await wrong_route(call, row) or wrong_role(call, row) or await handler(call)


def _other_method(call: Call, methods: set[str]) -> Answer:
    return not_allowed(f"{call.method} is not for this; allowed: {', '.join(sorted(methods))}", methods)
