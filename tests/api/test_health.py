"""Alive, ready, measured."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter

from api.dashboard import HEADERS, PAGE, dashboard_router
from api.health import Check, health_router


async def good() -> None: ...


async def bad() -> None:
    raise OSError("refused by 10.0.0.7")


async def silent() -> None:
    await asyncio.Event().wait()


async def get(
    path: str, checks: dict[str, Check], registry: CollectorRegistry | None = None
) -> httpx.Response:
    app = FastAPI()
    app.include_router(health_router(checks, registry or CollectorRegistry(), patience=0.05))
    app.include_router(dashboard_router())
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return await http.get(path)


async def test_a_process_is_alive_whatever_its_neighbours_do() -> None:
    assert (await get("/health", {"log": bad})).json() == {"status": "ok"}


async def test_a_process_is_ready_when_every_check_passes() -> None:
    response = await get("/ready", {"log": good, "store": good})

    assert response.status_code == 200
    assert response.json() == {"status": "ready", "checks": {"log": "ok", "store": "ok"}}


async def test_what_fails_or_is_silent_is_named_without_its_address() -> None:
    response = await get("/ready", {"log": good, "store": bad, "cache": silent})

    assert response.status_code == 503
    assert response.json()["checks"] == {"log": "ok", "store": "away", "cache": "away"}
    assert "10.0.0.7" not in response.text


async def test_what_is_missing_is_said_once_and_once_that_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However often and by however many it is asked."""
    away = True

    async def log() -> None:
        if away:
            raise OSError("database or disk is full")

    app = FastAPI()
    app.include_router(health_router({"log": log}, CollectorRegistry()))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        statuses = [(await http.get("/ready")).status_code for _ in range(5)]
        away = False
        statuses += [(await http.get("/ready")).status_code for _ in range(5)]

    assert statuses == [503] * 5 + [200] * 5
    assert [record.message for record in caplog.records] == [
        "not ready: log: database or disk is full",
        "ready again: log",
    ]


async def test_metrics_are_prometheus_text() -> None:
    registry = CollectorRegistry()
    Counter("charges", "Charges that were seen", registry=registry).inc()

    response = await get("/metrics", {}, registry)

    assert response.headers["content-type"].startswith("text/plain")
    assert "charges_total 1.0" in response.text


async def test_the_dashboard_is_one_page_that_loads_nothing_from_elsewhere() -> None:
    response = await get("/", {})

    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not any(sign in PAGE for sign in ("http://", "https://", "src=", "@import", "innerHTML", "eval("))
