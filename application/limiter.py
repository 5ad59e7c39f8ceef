"""Rate limits: token buckets by key, in this process or shared through Redis.

A bucket holds up to `capacity` and fills by `rate` a second. While Redis is away the limit of this process alone
holds: nobody is refused, or let through without bound, because a neighbour is down.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import redis.asyncio
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

LUA = """
local k=KEYS[1] local cap=tonumber(ARGV[1]) local rate=tonumber(ARGV[2]) local n=tonumber(ARGV[3])
local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
local d=redis.call('HMGET',k,'t','ts') local tok=tonumber(d[1]) or cap local ts=tonumber(d[2]) or now
tok=math.min(cap,tok+(now-ts)*rate/1000) local ok=0 if tok>=n then tok=tok-n ok=1 end
redis.call('HSET',k,'t',tostring(tok),'ts',now) redis.call('PEXPIRE',k,math.ceil(cap/rate*1000)+1000)
return {ok,ok==1 and 0 or math.ceil((n-tok)/rate*1000)}
"""


class Verdict(NamedTuple):
    """Whether it may go on; else after how many seconds there is room again."""

    allowed: bool
    retry_after: float = 0.0


class RateLimiter(ABC):
    """Never raises."""

    @abstractmethod
    async def take(self, key: str, capacity: float, rate: float, amount: float = 1.0) -> Verdict:
        """Take `amount` from the key's bucket, all or nothing; `capacity` and `rate` (a second) are above 0."""

    async def give_back(self, key: str, capacity: float, rate: float, amount: float = 1.0) -> None:
        """What was taken for nothing; beyond its capacity a bucket keeps nothing."""
        await self.take(key, capacity, rate, -amount)

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections."""


class LocalLimiter(RateLimiter):
    """Buckets in this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, keys: int = 100_000) -> None:
        self._clock = clock
        self._keys = keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def take(self, key: str, capacity: float, rate: float, amount: float = 1.0) -> Verdict:
        now = self._clock()
        level, at = self._buckets.get(key, (capacity, now))
        level = min(capacity, level + (now - at) * rate)
        allowed = level >= amount
        if allowed:
            level -= amount
        self._buckets[key] = (level, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return Verdict(allowed, 0.0 if allowed else (amount - level) / rate)

    async def close(self) -> None:
        self._buckets.clear()


class RedisLimiter(RateLimiter):
    """Buckets shared by all processes; those of this process while Redis is away."""

    def __init__(self, url: str, prefix: str = "chargesphere:limit:") -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=0.25, socket_connect_timeout=0.25, protocol=2
        )
        self._script = self._redis.register_script(LUA)
        self._prefix = prefix
        self._local = LocalLimiter()
        self._away_until = 0.0

    async def take(self, key: str, capacity: float, rate: float, amount: float = 1.0) -> Verdict:
        if time.monotonic() >= self._away_until:
            try:
                allowed, wait = await self._script(keys=[self._prefix + key], args=[capacity, rate, amount])
                return Verdict(bool(allowed), math.ceil(wait) / 1000)
            except (RedisError, OSError, TimeoutError) as error:
                self._away_until = time.monotonic() + 1.0
                logger.warning("rate limits are this process's own while Redis is away: %s", error)
        return await self._local.take(key, capacity, rate, amount)

    async def close(self) -> None:
        await self._redis.aclose()
