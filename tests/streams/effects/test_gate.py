"""How a partner is spoken to, as all processes know it: one contract for the gate in the process and in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from streams.effects.gate import FAILURES, Gate, LocalGate, RedisGate

KINDS = ["local", pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(params=KINDS)
async def gate(request: pytest.FixtureRequest) -> AsyncIterator[Gate]:
    gate: Gate
    if request.param == "local":
        gate = LocalGate(rate=0.5, burst=3)
    else:
        gate = RedisGate(request.getfixturevalue("redis_server").url, rate=0.5, burst=3)
    yield gate
    await gate.close()


async def test_a_burst_goes_at_once_and_the_next_one_is_told_when(
    gate: Gate, unique: Callable[..., str]
) -> None:
    key = unique()
    assert [await gate.enter(key) for _ in range(3)] == [0, 0, 0]
    assert 1.0 < await gate.enter(key) <= 2.0


async def test_five_tries_without_an_answer_close_it_for_longer_each_time(
    gate: Gate, unique: Callable[..., str]
) -> None:
    key = unique()
    for _ in range(FAILURES - 1):
        await gate.failed(key)
    assert await gate.enter(key) == 0
    await gate.failed(key)
    assert 0.5 < await gate.enter(key) <= 1.0
    await gate.failed(key)
    assert 1.5 < await gate.enter(key) <= 2.0
    for _ in range(20):
        await gate.failed(key)
    assert 59 < await gate.enter(key) <= 60


async def test_an_answer_opens_it(gate: Gate, unique: Callable[..., str]) -> None:
    key = unique()
    for _ in range(FAILURES):
        await gate.failed(key)
    await gate.answered(key)
    assert await gate.enter(key) == 0
    await gate.failed(key)
    assert await gate.enter(key) == 0


async def test_who_asks_to_be_left_alone_is_though_it_answers(gate: Gate, unique: Callable[..., str]) -> None:
    key = unique()
    await gate.hold(key, 30)
    await gate.hold(key, 10)
    await gate.answered(key)
    assert 29 < await gate.enter(key) <= 30
    await gate.hold(key, 1e9)
    assert await gate.enter(key) <= 3600


async def test_partners_do_not_share_it(gate: Gate, unique: Callable[..., str]) -> None:
    one, two = unique("one"), unique("two")
    await gate.hold(one, 30)
    assert await gate.enter(two) == 0


async def test_it_opens_with_time() -> None:
    now = 0.0
    gate = LocalGate(lambda: now, rate=1, burst=1)
    await gate.enter("k")
    assert await gate.enter("k") == 1.0
    now = 1.0
    assert await gate.enter("k") == 0
    await gate.hold("k", 5)
    now = 6.5
    assert await gate.enter("k") == 0


@pytest.mark.redis
async def test_two_processes_know_the_same(redis_server: Any, unique: Callable[..., str]) -> None:
    one, two, key = RedisGate(redis_server.url), RedisGate(redis_server.url), unique()
    await one.hold(key, 30)
    assert await two.enter(key) > 29
    other = unique("other")
    for gate in (one, two, one, two, one):
        await gate.failed(other)
    assert 0 < await two.enter(other) <= 1.0
    await one.answered(other)
    assert await two.enter(other) == 0
    await one.close()
    await two.close()


@pytest.mark.redis
async def test_while_redis_is_away_what_this_process_knows_holds(own_redis: Any) -> None:
    gate = RedisGate(own_redis.url, rate=0.01, burst=2)
    await gate.hold("held", 30)
    await asyncio.to_thread(own_redis.kill)
    assert await gate.enter("held") > 29
    assert [await gate.enter("k") for _ in range(2)] == [0, 0]
    assert await gate.enter("k") > 0
    await gate.close()
