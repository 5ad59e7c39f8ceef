"""Keeps the account of one partition that is held: takes it over, proves that it is ours, reports, hands it over.

A request is begun only within ten seconds of the asking of a report that was accepted, and lasts ten at most: so who
takes a partition over from somebody who said nothing is silent for twenty.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from commands.base import Meta
from commands.pushes import Account, Report, Standing, TakeOver
from domain.outbox import News, Outbox
from streams.deciding.bus import CommandBus
from streams.effects.target import LONGEST_SEND, Content
from streams.log import Log, LogUnavailableError, TopicPartition

logger = logging.getLogger(__name__)

LEASE_S = 10.0
"""How long a proof that the account is ours lasts."""
QUIET_S = LEASE_S + LONGEST_SEND.total_seconds()
"""How long whoever held it before may still send."""
REPORT_EVERY_S = 1.0
TOLD_EVERY_S = 10.0
"""How long it may stand nowhere but in a position up to where all is told."""
ASKED_EVERY_S = 15.0
"""How long a person's word on what was tried in vain may go unheard."""
HANDOVER_LOOKED_FOR_S = 2.0
HANDING_OVER_S = 1.0
"""How long a hand-over is waited for, so that a process that ends leaves nothing undecided."""
AGAIN_S = 0.5
OVER = frozenset({"COMPLETED", "INVALID"})


@dataclass(slots=True, eq=False)
class Desk:
    """One partition that is held. Times are the loop's."""

    place: TopicPartition
    outbox: Outbox
    epoch: int = -1
    clear: bool = False
    quiet_until: float = 0.0
    proven_until: float = 0.0
    wants_proof: bool = False
    reported_at: float = 0.0
    unanswered: bool = False
    handled: int = 0
    history: int = 0
    """Where the partition ended when it was taken over: what was told already may be as new as that."""
    lost_end: bool = False
    closed: bool = False
    crowded: bool = False
    """Something is due, and its partner has as many requests under way as it may."""
    contents: dict[str, Content] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    sending_news: asyncio.Event = field(default_factory=asyncio.Event)
    report_news: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    sends: set[asyncio.Task[None]] = field(default_factory=set)
    walks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Parties for which nobody speaks any more, and of which nothing has come since that was asked."""
    room: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when less may wait than before."""

    def wake(self) -> None:
        """Something has changed."""
        self.room.set()
        self.sending_news.set()
        self.report_news.set()

    @property
    def may_send(self) -> bool:
        """Whether whoever held the partition before us sends nothing any more."""
        return self.clear or asyncio.get_running_loop().time() >= self.quiet_until

    @property
    def is_proven(self) -> bool:
        """Whether nobody else can have begun to send."""
        return asyncio.get_running_loop().time() < self.proven_until and not self.closed

    def until_report(self, now: datetime) -> float | None:
        """Seconds until the account is to hear of us; None for as long as nothing changes."""
        outbox, time = self.outbox, asyncio.get_running_loop().time()
        moments: list[float] = []
        if not self.may_send:
            moments.append(self.reported_at + HANDOVER_LOOKED_FOR_S)
        elif self.wants_proof:
            moments.append(time)
        elif outbox.due(now):
            moments.append(self.proven_until - LEASE_S / 2)
        if outbox.news().matters:
            moments.append(self.reported_at + REPORT_EVERY_S)
        elif outbox.has_told:
            moments.append(self.reported_at + TOLD_EVERY_S)
        if outbox.in_vain:
            moments.append(self.reported_at + ASKED_EVERY_S)
        if not moments:
            return None
        least = self.reported_at + AGAIN_S if self.unanswered else 0.0
        return max(min(moments), least) - time

    def let_go(self, to: str, id: str) -> None:
        """What is over and told needs no memory."""
        if self.outbox.get((to, id)) is not None:
            return
        content = self.contents.get(id)
        if content is not None and content.document.get("status") in OVER:
            del self.contents[id]
        if id not in self.contents:
            self.outbox.forget(to, id)


class Accounts:
    """What one process says of the partitions that it holds, and hears of them."""

    def __init__(self, log: Log, bus: CommandBus, module: str, clock: Callable[[], datetime]) -> None:
        self._log = log
        self._bus = bus
        self._module = module
        self._clock = clock
        self._numbers = itertools.count(1)
        self._by = ""
        self.begin_anew()

    def begin_anew(self) -> None:
        """What this process had under way may still arrive: from now on it is somebody else."""
        self._by = secrets.token_hex(8)

    async def take_over(self, desk: Desk) -> Account:
        """Until it is ours. Whoever held it before may send for a while."""
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            try:
                command = TakeOver(module=self._module, partition=desk.place.partition, by=self._by)
                reply = await self._bus.ask(command, self._meta())
                if reply.refusal is None:
                    account = msgspec.json.decode(reply.result, type=Account)
                    # Asked afterwards: whoever held it before may have gone on until now.
                    end = (await self._log.ends([desk.place]))[desk.place]
                    break
                logger.error("%s[%d] cannot be taken over: %s", *desk.place, reply.message)
            except LogUnavailableError as error:
                logger.warning("%s[%d] is not taken over yet: %s", *desk.place, error)
            except Exception:
                # Whatever it is, nobody would miss us: the partition would wait for ever.
                logger.exception("%s[%d] cannot be taken over", *desk.place)
            await asyncio.sleep(AGAIN_S)
        desk.epoch, desk.clear = account.epoch, account.clear
        desk.gone.clear()  # of whom others were told meanwhile is not known
        desk.proven_until, desk.quiet_until = asked + LEASE_S, loop.time() + QUIET_S
        desk.history, desk.lost_end = end, account.through > end
        return account

    async def report_forever(self, desk: Desk) -> None:
        """Until cancelled."""
        while True:
            desk.report_news.clear()
            wait = desk.until_report(self._clock())
            if wait is not None and wait <= 0:
                await self._report(desk)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await desk.report_news.wait()

    async def _report(self, desk: Desk) -> None:
        loop, outbox = asyncio.get_running_loop(), desk.outbox
        asked, news = loop.time(), outbox.news()
        desk.reported_at, desk.unanswered = asked, True
        outbox.reporting(news)
        try:
            reply = await self._bus.ask(self._report_of(desk, news), self._meta())
        except LogUnavailableError as error:
            logger.warning("what was pushed of %s[%d] is not reported: %s", *desk.place, error)
            return
        except Exception:
            # Whatever it is, nobody would miss us: without a proof nothing is sent.
            logger.exception("what was pushed of %s[%d] cannot be reported", *desk.place)
            return
        if reply.refusal is not None:
            logger.warning("what was pushed of %s[%d] does not count: %s", *desk.place, reply.message)
            await self._take_back(desk)
            return
        outbox.reported(news)
        if news.behind:
            for id, content in list(desk.contents.items()):
                desk.let_go(str(content.document.get("owner")), id)
        standing = msgspec.json.decode(reply.result, type=Standing)
        desk.clear = desk.clear or standing.clear
        desk.proven_until = asked + LEASE_S
        desk.unanswered = desk.wants_proof = False
        outbox.retry(standing.retries, self._clock())
        desk.sending_news.set()

    async def _take_back(self, desk: Desk) -> None:
        """Somebody else has taken it over. Where the group still says that it is ours, we are the newer holder."""
        desk.proven_until = 0.0
        await asyncio.sleep(HANDOVER_LOOKED_FOR_S)
        account = await self.take_over(desk)
        desk.outbox.take_up_again(account.waiting, account.behind, self._clock())
        desk.unanswered = desk.wants_proof = False
        desk.wake()

    async def hand_over(self, desk: Desk) -> None:
        """Say that it sends nothing any more."""
        try:
            report = self._report_of(desk, desk.outbox.news(), last=True)
            with contextlib.suppress(LogUnavailableError):  # then the next holder waits
                await self._bus.ask(report, self._meta(), timeout=HANDING_OVER_S)
        except Exception:
            logger.exception("%s[%d] is handed over to nobody: the next one waits", *desk.place)

    def _report_of(self, desk: Desk, news: News, *, last: bool = False) -> Report:
        return Report(
            module=self._module,
            partition=desk.place.partition,
            epoch=desk.epoch,
            through=news.through,
            waiting=news.waiting,
            told=news.told,
            behind=dict(news.behind),
            caught_up=news.caught_up,
            heard=news.heard,
            number=next(self._numbers),
            last=last,
        )

    def _meta(self) -> Meta:
        return Meta(
            command_id=f"pushes|{self._by}|{next(self._numbers)}", at=self._clock(), principal="effects"
        )
