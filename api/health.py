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

    @router.get("/health")
    async def health() -> Response:
        """The process runs."""
        return _answer({"status": "ok"})

    @router.get("/ready")
    async def ready() -> Response:
        """The process can serve."""
        results = await asyncio.gather(*(_passes(name, check, patience) for name, check in checks.items()))
        parts = {name: "ok" if passed else "away" for name, passed in zip(checks, results, strict=True)}
        good = all(results)
        return _answer({"status": "ready" if good else "not ready", "checks": parts}, 200 if good else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        """In Prometheus' text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


async def _passes(name: str, check: Check, patience: float) -> bool:
    try:
        async with asyncio.timeout(patience):
            await check()
    except Exception as error:
        logger.warning("not ready: %s: %s", name, error or type(error).__name__)
        return False
    return True


def _answer(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
