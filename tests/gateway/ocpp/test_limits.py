"""Buckets, paces and shares."""

from __future__ import annotations

import asyncio

import pytest

from gateway.ocpp.limits import Buckets, Paces, Shares
from tests.gateway.ocpp.fakes import World


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    buckets = Buckets(rate=1, burst=2)
    assert [buckets.take("a", 0) for _ in range(3)] == [True, True, False]
    assert buckets.empty("a", 0.5)
    assert buckets.take("a", 1.0)
    assert buckets.take("b", 1.0)


def test_the_bucket_used_longest_ago_is_forgotten_first() -> None:
    buckets = Buckets(rate=0, burst=1, most=2)
    for key in ("a", "b", "a", "c"):
        buckets.take(key, 0)
    assert buckets.empty("a", 0)
    assert not buckets.empty("b", 0)


async def test_a_tenants_messages_are_spread_to_its_rate() -> None:
    tenant = World().tenant(messages_per_second=10.0)
    paces = Paces()
    waits = [paces.wait(tenant, 0.0) for _ in range(22)]
    assert waits == pytest.approx([*[0.0] * 20, 0.1, 0.2])
    assert paces.wait(World().tenant(messages_per_second=0.0), 0.0) == 0.0


async def test_one_tenants_storm_waits_and_does_not_hold_up_another() -> None:
    w = World()
    small, other = w.tenant("small", worker_pool_size=1), w.tenant("other", queue_enabled=False)
    shares = Shares()
    held = [shares.of(small) for _ in range(Shares.EACH)]
    for place in held:
        await place.__aenter__()
    waiting = asyncio.create_task(shares.of(small).__aenter__())
    async with shares.of(other):
        await asyncio.sleep(0)
        assert not waiting.done()
    await held[0].__aexit__(None, None, None)
    await waiting
