"""One contract for both limiters; the shared one on a real Redis or Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from application.limiter import LocalLimiter, RateLimiter, RedisLimiter


@pytest.fixture(params=["local", pytest.param("redis", marks=pytest.mark.redis)])
async def limiter(request: pytest.FixtureRequest) -> AsyncIterator[RateLimiter]:
    limiter: RateLimiter
    if request.param == "local":
        limiter = LocalLimiter()
    else:
        limiter = RedisLimiter(request.getfixturevalue("redis_server").url)
    yield limiter
    await limiter.close()


async def test_a_full_bucket_gives_its_capacity_at_once_and_no_more(
    limiter: RateLimiter, unique: Callable[..., str]
) -> None:
    key = unique()
    verdicts = await asyncio.gather(*(limiter.take(key, 5, 0.01) for _ in range(20)))
    assert sum(verdict.allowed for verdict in verdicts) == 5


async def test_a_refusal_says_when_there_is_room_again(
    limiter: RateLimiter, unique: Callable[..., str]
) -> None:
    key = unique()
    await limiter.take(key, 1, 0.5)
    verdict = await limiter.take(key, 1, 0.5)
    assert not verdict.allowed
    assert 1.0 < verdict.retry_after <= 2.0


async def test_what_was_taken_for_nothing_is_given_back(
    limiter: RateLimiter, unique: Callable[..., str]
) -> None:
    """And a bucket that is full stays as it is."""
    key = unique()
    await limiter.give_back(key, 2, 0.01)
    verdicts = []
    for _ in range(3):
        verdicts.append(await limiter.take(key, 2, 0.01))
        await limiter.give_back(key, 2, 0.01)
    assert all(verdict.allowed for verdict in verdicts)
    assert [(await limiter.take(key, 2, 0.01)).allowed for _ in range(3)] == [True, True, False]


async def test_keys_do_not_share_a_bucket(limiter: RateLimiter, unique: Callable[..., str]) -> None:
    one, two = unique("one"), unique("two")
    await limiter.take(one, 1, 0.01)
    assert (await limiter.take(two, 1, 0.01)).allowed


async def test_a_bucket_fills_with_time() -> None:
    now = 0.0
    limiter = LocalLimiter(lambda: now)
    await limiter.take("k", 2, 1, 2)
    assert not (await limiter.take("k", 2, 1)).allowed
    now = 1.0
    assert (await limiter.take("k", 2, 1)).allowed


@pytest.mark.redis
async def test_while_redis_is_away_the_limit_of_the_process_holds(own_redis: Any) -> None:
    limiter = RedisLimiter(own_redis.url)
    assert (await limiter.take("k", 3, 0.01)).allowed
    await asyncio.to_thread(own_redis.kill)
    verdicts = [await limiter.take("k", 3, 0.01) for _ in range(6)]
    assert sum(verdict.allowed for verdict in verdicts) == 3
    await limiter.close()
