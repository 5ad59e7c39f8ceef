"""Versions and version details: only endpoints that work are listed, those of the hub itself once and as SENDER."""

from __future__ import annotations

from collections.abc import Iterable

from api.ocpi.call import VERSIONS, Answer, Call
from protocols.ocpi.types import JSON


def get_list(call: Call) -> Answer:
    base = call.ports.public_url
    found: list[JSON] = [{"version": version, "url": f"{base}/ocpi/{version}"} for version in VERSIONS]
    return Answer(found)


def get_details(call: Call, modules: Iterable[tuple[str, str]]) -> Answer:
    """`modules` are (sender or receiver, module id)."""
    endpoints: list[JSON] = [
        {"identifier": name, "role": "SENDER", "url": f"{call.base}/{name}"}
        for name in ("credentials", "hubclientinfo")
    ]
    for role, module in modules:
        endpoints.append({"identifier": module, "role": role.upper(), "url": f"{call.base}/{role}/{module}"})
    return Answer({"version": call.version, "endpoints": endpoints})
