"""Whether a partner may be sent something now: its rate, its breaker and its Retry-After, as all processes know them.

Five tries in a row without an answer close the gate for a second, doubling to a minute; one answer opens it. While
Redis is away each process goes on alone, with the same limits.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import redis.asyncio
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

RATE = 200.0
"""Requests a second to one partner."""
BURST = 400.0
FAILURES = 5
"""So many tries in a row without an answer close the gate."""
LONGEST_CLOSED_S = 60.0
LONGEST_HELD_S = 3600.0
"""A Retry-After counts for an hour at most."""

ENTER = """
local k=KEYS[1] local rate=tonumber(ARGV[1]) local burst=tonumber(ARGV[2])
local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
local d=redis.call('HMGET',k,'t','ts','closed','held')
local till=math.max(tonumber(d[3]) or 0,tonumber(d[4]) or 0)
if till>now then return till-now end
local tok=tonumber(d[1]) or burst local ts=tonumber(d[2]) or now
tok=math.min(burst,tok+(now-ts)*rate/1000) local wait=0
if tok>=1 then tok=tok-1 else wait=math.ceil((1-tok)/rate*1000) end
redis.call('HSET',k,'t',tostring(tok),'ts',now) redis.call('PEXPIRE',k,7200000)
return wait
"""
FAILED = """
local k=KEYS[1] local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
local n=redis.call('HINCRBY',k,'failures',1) redis.call('PEXPIRE',k,7200000)
if n>=tonumber(ARGV[1]) then
  redis.call('HSET',k,'closed',now+math.min(2^(n-tonumber(ARGV[1])),tonumber(ARGV[2]))*1000)
end
"""
HOLD = """
local k=KEYS[1] local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
local held=tonumber(redis.call('HGET',k,'held') or 0)
redis.call('HSET',k,'held',math.max(held,now+tonumber(ARGV[1]))) redis.call('PEXPIRE',k,7200000)
"""


class Gate(ABC):
    """Never raises."""

    @abstractmethod
    async def enter(self, key: str) -> float:
        """Seconds to wait before the next request; 0: it may be made now, and counts."""

    @abstractmethod
    async def failed(self, key: str) -> None:
        """A request got no answer."""

    @abstractmethod
    async def answered(self, key: str) -> None:
        """A request got an answer, whichever."""

    @abstractmethod
    async def hold(self, key: str, seconds: float) -> None:
        """It asked to be left alone so long."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections."""


@dataclass(slots=True)
class _Known:
    tokens: float
    at: float
    failures: int = 0
    closed_until: float = 0.0
    held_until: float = 0.0


class LocalGate(Gate):
    """What this process knows."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, rate: float = RATE, burst: float = BURST
    ) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._known: dict[str, _Known] = {}

    def _of(self, key: str) -> _Known:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Known(self._burst, self._clock())
        return known

    async def enter(self, key: str) -> float:
        known, now = self._of(key), self._clock()
        until = max(known.closed_until, known.held_until)
        if until > now:
            return until - now
        known.tokens = min(self._burst, known.tokens + (now - known.at) * self._rate)
        known.at = now
        if known.tokens < 1:
            return (1 - known.tokens) / self._rate
        known.tokens -= 1
        return 0.0

    async def failed(self, key: str) -> None:
        known = self._of(key)
        known.failures += 1
        if known.failures >= FAILURES:
            known.closed_until = self._clock() + min(2.0 ** (known.failures - FAILURES), LONGEST_CLOSED_S)

    async def answered(self, key: str) -> None:
        known = self._of(key)
        known.failures, known.closed_until = 0, 0.0

    async def hold(self, key: str, seconds: float) -> None:
        known = self._of(key)
        known.held_until = max(known.held_until, self._clock() + min(seconds, LONGEST_HELD_S))

    async def close(self) -> None:
        self._known.clear()


class RedisGate(Gate):
    """What all processes know; what this one knows while Redis is away."""

    def __init__(
        self, url: str, prefix: str = "chargesphere:gate:", rate: float = RATE, burst: float = BURST
    ) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=0.25, socket_connect_timeout=0.25, protocol=2
        )
        self._scripts = {name: self._redis.register_script(name) for name in (ENTER, FAILED, HOLD)}
        self._prefix = prefix
        self._rate = rate
        self._burst = burst
        self._local = LocalGate(rate=rate, burst=burst)
        self._away_until = 0.0

    async def enter(self, key: str) -> float:
        wait = await self._run(ENTER, key, self._rate, self._burst)
        return await self._local.enter(key) if wait is None else wait / 1000

    async def failed(self, key: str) -> None:
        await self._local.failed(key)
        await self._run(FAILED, key, FAILURES, LONGEST_CLOSED_S)

    async def answered(self, key: str) -> None:
        await self._local.answered(key)
        if time.monotonic() >= self._away_until:
            try:
                await self._redis.hdel(self._prefix + key, "failures", "closed")
            except (RedisError, OSError, TimeoutError) as error:
                self._away(error)

    async def hold(self, key: str, seconds: float) -> None:
        await self._local.hold(key, seconds)
        await self._run(HOLD, key, int(min(seconds, LONGEST_HELD_S) * 1000))

    async def _run(self, script: str, key: str, *arguments: float) -> float | None:
        """The script's answer, 0 where it has none; None while Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            return float(await self._scripts[script](keys=[self._prefix + key], args=list(arguments)) or 0)
        except (RedisError, OSError, TimeoutError) as error:
            self._away(error)
            return None

    def _away(self, error: Exception) -> None:
        self._away_until = time.monotonic() + 1.0
        logger.warning("how partners are spoken to is this process's own while Redis is away: %s", error)

    async def close(self) -> None:
        await self._redis.aclose()
