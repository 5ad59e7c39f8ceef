"""`/health`, `/ready` and `/metrics`, the same for every kind of process.

Checks and a metrics registry enter, plain answers leave. Nothing here needs a token, so nothing here tells secrets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

logger = logging.getLogger(__name__)

PATIENCE: Final = 2.0
Check = Callable[[], Awaitable[None]]
"""Returns where its part can serve; raises where it cannot."""


def health_router(
    checks: Mapping[str, Check], registry: CollectorRegistry = REGISTRY, *, patience: float = PATIENCE
) -> APIRouter:
    """`/ready` is 200 while every check returns within `patience` seconds, else 503 with the names that do not."""
    router = APIRouter(tags=["operations"])
    said: dict[str, str] = {}

    @router.get("/health")
    async def health() -> Response:
        """The process runs."""
        return _answer({"status": "ok"})

    @router.get("/ready")
    async def ready() -> Response:
        """The process can serve."""
        missing = await failing(checks, patience)
        for name in said.keys() - missing.keys():
            logger.warning("ready again: %s", name)
            del said[name]
        for name, reason in missing.items():
            if name not in said:
                logger.warning("not ready: %s: %s", name, reason)
            said[name] = reason
        parts = {name: "away" if name in missing else "ok" for name in checks}
        status = "not ready" if missing else "ready"
        return _answer({"status": status, "checks": parts}, 503 if missing else 200)

    @router.get("/metrics")
    async def metrics() -> Response:
        """In Prometheus' text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


async def failing(checks: Mapping[str, Check], patience: float = PATIENCE) -> dict[str, str]:
    """The checks that do not return within `patience` seconds, by name, with the reason."""
    reasons = await asyncio.gather(*(_reason(check, patience) for check in checks.values()))
    return {name: reason for name, reason in zip(checks, reasons, strict=True) if reason}


async def _reason(check: Check, patience: float) -> str:
    """Why it cannot serve; empty where it can."""
    try:
        async with asyncio.timeout(patience):
            await check()
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def _answer(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
