"""The deliveries engine: attempts that are due become sends, and their outcomes become commands.

What enters: `delivery.attempt_due` events. What leaves: one send for each through the `Sender` port, and a report.
Each party has its own queue, its own concurrency and its own breaker, so that a wrong or silent partner delays
nobody else; what is to be sent is found before it takes a place there, so that our own delay delays nobody either.
Nothing here is durable: an attempt that is lost with this process is repeated when its lease ends. An attempt is
begun once its group's position is committed behind it: so it is made once, whoever gets the partition next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from commands.base import Area, Meta
from commands.delivery import ReportAttempt
from domain.aggregate import EventRegistry, event_name
from domain.delivery import AttemptDue, AttemptFailed, Delivered, GivenUp, RetryRequested
from streams.deciding.bus import CommandBus
from streams.following.facts import Fact
from streams.following.sink import MOST_IN_ALL, Sink
from streams.log import Log, LogUnavailableError, TopicPartition
from streams.log.envelope import select_events

logger = logging.getLogger(__name__)

LONGEST_SEND = timedelta(seconds=20)
SHORTEST_SEND = timedelta(seconds=2)
"""An attempt whose lease ends sooner is left to the next one."""

GATHER_S = 0.1
"""How long attempts may wait under load for others to be begun with."""

_STEPS = frozenset(
    event_name(step) for step in (AttemptDue, Delivered, AttemptFailed, GivenUp, RetryRequested)
)
"""An attempt, and what follows on one: its outcome, or the next one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a send: delivered, refused, unreachable, not_ready or unknown."""

    outcome: str
    sent: int = 0
    http_status: int = 0
    reason: str = ""
    remote_url: str = ""


Content = TypeVar("Content")


class Sender(ABC, Generic[Content]):
    """Sends one object, as it is now, to one party. Never raises for what a partner does."""

    @abstractmethod
    async def find(self, job: AttemptDue) -> Content | None:
        """What is to be sent, once it has the version that is wanted; None where it has not got there in time."""

    @abstractmethod
    async def send(self, job: AttemptDue, content: Content, correlation_id: str) -> Outcome: ...


@dataclass(slots=True)
class _Line(Generic[Content]):
    """One party's queue; the breaker opens after five failures in a row, for up to a minute."""

    queue: asyncio.Queue[tuple[AttemptDue, Content, Meta]]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    failures: int = 0
    closed_until: float = 0.0


class Deliveries(Generic[Content]):
    """`sink` is what it does with facts; the sends under way end when the group is left."""

    def __init__(
        self,
        log: Log,
        bus: CommandBus,
        events: EventRegistry,
        sender: Sender[Content],
        clock: Callable[[], datetime],
        *,
        concurrency: int = 8,
        queue: int = 2000,
    ) -> None:
        self._bus = bus
        self._events = events
        self._sender = sender
        self._clock = clock
        self._concurrency = concurrency
        self._limit = queue
        self._lines: dict[str, _Line[Content]] = {}
        self._log = log
        self._unsettled: dict[TopicPartition, dict[str, tuple[int, AttemptDue, Meta]]] = {}
        self._history: dict[TopicPartition, int] = {}
        self._finding: set[asyncio.Task[None]] = set()
        self.sink = Sink(
            log,
            "deliveries",
            [Area.DELIVERY],
            self._handle,
            gather=GATHER_S,
            forget=self._forget,
            settled=self._begin,
            ended=self._end,
            most_in_all=MOST_IN_ALL,
        )
        self.counts: dict[str, int] = {}

    def _end(self) -> None:
        for task in self._finding.union(*(line.tasks for line in self._lines.values())):
            task.cancel()
        self._lines.clear()

    async def _handle(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        if place not in self._history:
            self._history[place] = (await self._log.ends([place]))[place]
        unsettled = self._unsettled.setdefault(place, {})
        for fact in facts:
            for event in select_events(fact.decision, self._events, _STEPS):
                unsettled.pop(event.originator_id, None)
                if isinstance(event, AttemptDue):
                    unsettled[event.originator_id] = (fact.offset, event, fact.decision.meta)

    def _begin(self, place: TopicPartition, before: int) -> None:
        """The attempts up to this offset are ours alone.

        What happened before we were given the partition is read to its end first: of an attempt that stands there the
        outcome may stand there too, and then it is not made again.
        """
        if before < self._history.get(place, 0):
            return
        unsettled = self._unsettled.get(place, {})
        now = self._clock()
        for id in [id for id, (offset, _, _) in unsettled.items() if offset < before]:
            _, event, meta = unsettled.pop(id)
            # What does not fit is not lost: its lease ends, and it comes again.
            if event.lease - now >= SHORTEST_SEND and len(self._finding) < self._limit:
                finding = asyncio.create_task(self._find(event, meta))
                self._finding.add(finding)
                finding.add_done_callback(self._finding.discard)

    def _forget(self, place: TopicPartition) -> None:
        """Who has the partition now is given what was not settled."""
        self._unsettled.pop(place, None)
        self._history.pop(place, None)

    async def _find(self, event: AttemptDue, meta: Meta) -> None:
        try:
            content = await self._sender.find(event)
        except Exception as error:
            logger.exception("finding %s %s failed", event.module, event.object_id)
            outcome = Outcome("refused", reason=f"{type(error).__name__} while finding it")
        else:
            if content is not None:
                with contextlib.suppress(asyncio.QueueFull):
                    self._line(str(event.to)).queue.put_nowait((event, content, meta))
                return
            outcome = Outcome("not_ready", reason="the read model has not got there yet")
        await self._ended(event, outcome, meta)

    def _line(self, party: str) -> _Line[Content]:
        line = self._lines.get(party)
        if line is None:
            line = _Line(asyncio.Queue(self._limit))
            line.tasks = [asyncio.create_task(self._serve(line)) for _ in range(self._concurrency)]
            self._lines[party] = line
        return line

    async def _serve(self, line: _Line[Content]) -> None:
        while True:
            event, content, meta = await line.queue.get()
            left = event.lease - self._clock()
            if left < SHORTEST_SEND:
                continue
            if line.closed_until > time.monotonic():
                outcome = Outcome(
                    "unreachable", reason="not tried: the partner did not answer several times in a row"
                )
            else:
                outcome = await self._send(event, content, meta.correlation_id, min(LONGEST_SEND, left))
                self._judge(line, outcome)
            await self._ended(event, outcome, meta)

    async def _send(
        self, event: AttemptDue, content: Content, correlation_id: str, within: timedelta
    ) -> Outcome:
        """Never longer than the lease: the attempt after it may not meet this one at the partner."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await self._sender.send(event, content, correlation_id)
        except TimeoutError:
            return Outcome("unknown", reason=f"no answer in {within.total_seconds():.0f} s")
        except Exception as error:
            logger.exception("sending %s %s failed", event.module, event.object_id)
            return Outcome("refused", reason=f"{type(error).__name__} while sending")

    @staticmethod
    def _judge(line: _Line[Content], outcome: Outcome) -> None:
        if outcome.outcome in ("unreachable", "unknown"):
            line.failures += 1
            if line.failures >= 5:
                line.closed_until = time.monotonic() + min(2.0 ** (line.failures - 5), 60.0)
        elif outcome.outcome != "not_ready":
            line.failures, line.closed_until = 0, 0.0

    async def _ended(self, event: AttemptDue, outcome: Outcome, meta: Meta) -> None:
        self.counts[outcome.outcome] = self.counts.get(outcome.outcome, 0) + 1
        await self._report(event, outcome, meta)

    async def _report(self, event: AttemptDue, outcome: Outcome, meta: Meta) -> None:
        command = ReportAttempt(
            to=event.to,
            module=event.module,
            object_id=event.object_id,
            attempt=event.attempt,
            begun=event.originator_version,
            outcome=outcome.outcome,
            sent=outcome.sent,
            http_status=outcome.http_status,
            reason=outcome.reason[:500],
            remote_url=outcome.remote_url,
        )
        follow = Meta(
            command_id=f"report|{event.originator_id}|{event.originator_version}",
            at=self._clock(),
            tenant=event.tenant,
            correlation_id=meta.correlation_id,
            causation_id=meta.command_id,
            principal="effects",
        )
        try:
            await self._bus.tell(command, follow)
        except LogUnavailableError as error:
            # The lease ends and the attempt is repeated: the partner gets the same id and body again.
            logger.warning("the outcome of an attempt was not recorded: %s", error)
