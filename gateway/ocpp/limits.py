"""Limits of handshakes and of guessed passwords, and each tenant's share of this process. It holds no connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from typing import NamedTuple

from application.ports import Tenant
from gateway.ocpp.options import Options


class Buckets:
    """One token bucket for each key; forgets the keys that were used longest ago beyond `most`."""

    def __init__(self, rate: float, burst: float, most: int = 20_000) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float, tokens: float = 1) -> bool:
        """Take tokens, all or none; `now` in seconds of any rising clock. False when there are too few."""
        there = self._tokens(key, now)
        allowed = there >= tokens
        self._keep(key, there - tokens if allowed else there, now)
        return allowed

    def give_back(self, key: str, now: float, tokens: float = 1) -> None:
        """Undo one `take`."""
        self._keep(key, min(self._burst, self._tokens(key, now) + tokens), now)

    def full(self, key: str, now: float) -> bool:
        """Whether nothing of it is used."""
        return self._tokens(key, now) >= self._burst

    def _tokens(self, key: str, now: float) -> float:
        tokens, then = self._buckets.get(key, (self._burst, now))
        return min(self._burst, tokens + (now - then) * self._rate)

    def _keep(self, key: str, tokens: float, now: float) -> None:
        self._buckets[key] = (tokens, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)


class Guess(NamedTuple):
    """One try, and what was taken for it."""

    taken: tuple[tuple[Buckets, str, float], ...]

    def give_back(self, now: float) -> None:
        """It was none: it was right, or nobody had the time for it."""
        for buckets, key, tokens in self.taken:
            buckets.give_back(key, now, tokens)


class Guesses:
    """Passwords of which nobody knows yet whether they are right: who may try one, before it costs a hash.

    They are counted by charge point, however its URL was written, and by address. An address that guesses too often
    has a reserve for charge points at which nobody guessed, so that it keeps nobody else behind it away. A heavy hash
    costs an address as much as ten light ones. Who is right gets the try back.
    """

    HEAVY = 10.0

    def __init__(self, options: Options) -> None:
        self._charge_points = Buckets(options.guesses_per_charge_point, options.guess_burst, 100_000)
        self._addresses = Buckets(options.guesses_per_address, options.address_guess_burst)
        self._reserves = Buckets(options.reserve_per_address, options.address_reserve)
        self._repeats = Buckets(options.guesses_per_charge_point, options.guess_burst, 100_000)

    def take(self, charge_point: str, address: str, now: float, *, heavy: bool = False) -> Guess | None:
        """One try; None: nothing may be hashed."""
        price = self.HEAVY if heavy else 1.0
        untouched = self._charge_points.full(charge_point, now)
        if not self._charge_points.take(charge_point, now):
            return None
        for buckets in (self._addresses, self._reserves) if untouched else (self._addresses,):
            if buckets.take(address, now, price):
                return Guess(((self._charge_points, charge_point, 1.0), (buckets, address, price)))
        self._charge_points.give_back(charge_point, now)
        return None

    def may_repeat(self, charge_point: str, address: str, now: float) -> bool:
        """Whether the caller may hear once more what it has heard before: it costs others nothing."""
        return self._repeats.take(f"{address}|{charge_point}", now)


class Paces:
    """Spreads a tenant's messages to its rate: who comes too early waits, nothing is refused."""

    BURST = 2.0
    """Seconds' worth of messages that may come at once."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def wait(self, tenant: Tenant, now: float) -> float:
        """Seconds that the next message has to wait before it is taken."""
        if tenant.messages_per_second <= 0:
            return 0.0
        due = max(self._due.get(tenant.id, 0.0), now) + 1 / tenant.messages_per_second
        self._due[tenant.id] = due
        return max(0.0, due - now - self.BURST)


class Shares:
    """A bounded number of a tenant's messages are on their way to the log at once; others wait in order.

    So one tenant's storm delays itself. A worker of the pool only waits for the log, so it carries `EACH` messages at
    once. A tenant with `queue_enabled` off does not wait.
    """

    EACH = 64

    def __init__(self) -> None:
        self._pools: dict[str, tuple[int, asyncio.Semaphore]] = {}
        self._open = contextlib.nullcontext()

    def of(self, tenant: Tenant) -> contextlib.AbstractAsyncContextManager[None]:
        """Holds one place of the tenant's pool."""
        if not tenant.queue_enabled:
            return self._open
        size, pool = self._pools.get(tenant.id, (0, None))
        if pool is None or size != tenant.worker_pool_size:
            size = tenant.worker_pool_size
            pool = asyncio.Semaphore(max(1, size) * self.EACH)
            self._pools[tenant.id] = (size, pool)
        return pool
