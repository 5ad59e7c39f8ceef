"""Refused handshakes, so that an operator sees who knocks in vain: counted here, told to the log now and then.

What enters: each refusal. What leaves: at most one report a tenant and `knocks_every`, of at most `MOST_KNOCKS`
charge points; a storm of refusals costs the log no more than a few do. It refuses nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from datetime import datetime

import msgspec

from commands.base import Meta
from commands.knocking import MOST_KNOCKS, ReportKnocks
from domain.knocking import Knock
from gateway.ocpp.services import Services
from streams.log import LogUnavailableError

logger = logging.getLogger(__name__)

_LONGEST_ID = 100


class _Heard:
    """What was heard at one tenant's door and not told yet."""

    def __init__(self) -> None:
        self.knocks: dict[tuple[str, str], Knock] = {}
        self.left_out = 0

    def add(self, knock: Knock) -> None:
        known = self.knocks.get((knock.id, knock.reason))
        if known is None and len(self.knocks) >= MOST_KNOCKS:
            self.left_out += knock.count
            return
        if known is not None:
            knock = msgspec.structs.replace(
                max(known, knock, key=lambda one: one.last),
                count=known.count + knock.count,
                first=min(known.first, knock.first),
            )
        self.knocks[(knock.id, knock.reason)] = knock


class Knocks:
    """Those of one gateway."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._heard: dict[str, _Heard] = {}
        self._told_at: dict[str, float] = {}
        self._some = asyncio.Event()
        self._numbers = itertools.count(1)

    def note(self, tenant: str, id: str, reason: str, address: str) -> None:
        """A charge point was refused; `tenant` is empty where it fits none."""
        at = self._services.clock()
        self._add(tenant, Knock(id=_shown(id), reason=reason, address=address, count=1, first=at, last=at))

    async def run(self) -> None:
        """Tell what was heard, until the end; those that come together go together."""
        options = self._services.options
        while True:
            await self._some.wait()
            await asyncio.sleep(options.knocks_pause)
            now = asyncio.get_running_loop().time()
            for tenant in tuple(self._heard):
                if now - self._told_at.get(tenant, -options.knocks_every) >= options.knocks_every:
                    self._told_at[tenant] = now
                    await self._tell(tenant, self._heard.pop(tenant))
            if not self._heard:
                self._some.clear()

    async def _tell(self, tenant: str, heard: _Heard) -> None:
        command = ReportKnocks(tenant=tenant, knocks=tuple(heard.knocks.values()), left_out=heard.left_out)
        try:
            await self._services.bus.tell(command, self._meta(tenant, self._services.clock()))
        except LogUnavailableError:
            for knock in heard.knocks.values():
                self._add(tenant, knock)
            self._heard[tenant].left_out += heard.left_out
        except Exception:
            logger.exception("refused handshakes could not be reported")

    def _meta(self, tenant: str, at: datetime) -> Meta:
        channel = self._services.channel
        id = f"knocks|{tenant}|{channel.node}|{channel.boot}|{next(self._numbers)}"
        return Meta(command_id=id, at=at, tenant=tenant, principal="gateway")

    def _add(self, tenant: str, knock: Knock) -> None:
        self._heard.setdefault(tenant, _Heard()).add(knock)
        self._some.set()


def _shown(id: str) -> str:
    """What a stranger called itself, fit for a list."""
    return "".join(one if one.isprintable() else "?" for one in id[:_LONGEST_ID])
