"""The deliveries engine: attempts that are due become requests, and their outcomes become commands.

What enters: `delivery.attempt_due` events. What leaves: one request for each through the `Target` port, and a report.
Each party has its own queue and concurrency, so that a wrong or silent partner delays nobody else; what is to be sent
is found before it takes a place there: in the read model, or else in the fact that issued it.
Nothing here is durable: an attempt that is lost with this process is repeated when its lease ends. An attempt is
begun once its group's position is committed behind it: so it is made once, whoever gets the partition next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic

from commands.base import Area, Meta
from commands.delivery import ReportAttempt
from domain.aggregate import EventRegistry, event_name
from domain.clock import CLOCKS_APART
from domain.delivery import AttemptDue, AttemptFailed, Delivered, GivenUp, RetryRequested
from projections.store import StoreUnavailableError
from streams.deciding.bus import CommandBus
from streams.effects.gate import Gate
from streams.effects.target import LONGEST_SEND, Content, Job, Letter, Outcome, Target, request
from streams.following.facts import Fact
from streams.following.sink import MOST_IN_ALL, Sink
from streams.log import Log, LogUnavailableError, TopicPartition
from streams.log.envelope import select_events

logger = logging.getLogger(__name__)

SHORTEST_SEND = timedelta(seconds=2)
"""An attempt whose lease ends sooner is left to the next one."""

GATHER_S = 0.1
"""How long attempts may wait under load for others to be begun with."""
LONGEST_GATE_S = 0.5
"""How long an attempt waits for its turn at the partner; else it comes again."""
AGAIN_S = 1.0
"""How long the log or the read store is left alone that could not be read."""

_STEPS = frozenset(
    event_name(step) for step in (AttemptDue, Delivered, AttemptFailed, GivenUp, RetryRequested)
)
"""An attempt, and what follows on one: its outcome, or the next one."""


Find = Callable[[AttemptDue], Awaitable[Content]]


@dataclass(slots=True)
class _Line:
    """One party's queue."""

    queue: asyncio.Queue[tuple[AttemptDue, Content, Meta]]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Deliveries(Generic[Letter]):
    """`sink` is what it does with facts; the sends under way end when the group is left.

    `find` says what is to be sent (`streams.effects.originals`); it may raise StoreUnavailableError and
    LogUnavailableError.
    """

    def __init__(
        self,
        log: Log,
        bus: CommandBus,
        events: EventRegistry,
        find: Find,
        target: Target[Letter],
        gate: Gate,
        clock: Callable[[], datetime],
        *,
        concurrency: int = 8,
        queue: int = 2000,
    ) -> None:
        self._bus = bus
        self._events = events
        self._find_original = find
        self._target = target
        self._gate = gate
        self._clock = clock
        self._concurrency = concurrency
        self._limit = queue
        self._lines: dict[str, _Line] = {}
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
        for id in [id for id, (offset, _, _) in unsettled.items() if offset < before]:
            _, event, meta = unsettled.pop(id)
            # What does not fit is not lost: its lease ends, and it comes again.
            if self._left(event) >= SHORTEST_SEND and len(self._finding) < self._limit:
                finding = asyncio.create_task(self._find(event, meta))
                self._finding.add(finding)
                finding.add_done_callback(self._finding.discard)

    def _forget(self, place: TopicPartition) -> None:
        """Who has the partition now is given what was not settled."""
        self._unsettled.pop(place, None)
        self._history.pop(place, None)

    async def _find(self, event: AttemptDue, meta: Meta) -> None:
        """Until its lease is nearly over: then the next attempt looks for it."""
        content: Content | None = None
        while self._left(event) >= SHORTEST_SEND:
            try:
                content = await self._find_original(event)
                break
            except (StoreUnavailableError, LogUnavailableError) as error:
                logger.warning("%s %s is not found yet: %s", event.module, event.object_id, error)
            except Exception as error:
                logger.exception("finding %s %s failed", event.module, event.object_id)
                reason = f"{type(error).__name__} while finding it"
                await self._ended(event, Outcome("refused", reason=reason), 0, meta)
                return
            await asyncio.sleep(AGAIN_S)
        if content is not None:
            with contextlib.suppress(asyncio.QueueFull):
                self._line(str(event.to)).queue.put_nowait((event, content, meta))

    def _line(self, party: str) -> _Line:
        line = self._lines.get(party)
        if line is None:
            line = _Line(asyncio.Queue(self._limit))
            line.tasks = [asyncio.create_task(self._serve(line)) for _ in range(self._concurrency)]
            self._lines[party] = line
        return line

    async def _serve(self, line: _Line) -> None:
        while True:
            event, content, meta = await line.queue.get()
            outcome = await self._attempt(event, content, meta.correlation_id)
            if outcome is not None:
                await self._ended(event, outcome, content.version, meta)

    async def _attempt(self, event: AttemptDue, content: Content, correlation_id: str) -> Outcome | None:
        """None where its time is over: the attempt after it may not meet this one at the partner."""
        try:
            letter = await self._target.prepare(Job(event.to, event.module, event.object_id), content)
        except StoreUnavailableError as error:
            return Outcome("unreachable", reason=f"not tried: {error}")
        except Exception as error:
            logger.exception("preparing %s %s failed", event.module, event.object_id)
            return Outcome("refused", reason=f"{type(error).__name__} while preparing it")
        if isinstance(letter, Outcome):
            return letter
        return await self._send(event, letter, correlation_id)

    def _left(self, event: AttemptDue) -> timedelta:
        """Until its lease may be over by the clock of who decides the next attempt."""
        return event.lease - CLOCKS_APART - self._clock()

    async def _send(self, event: AttemptDue, letter: Letter, correlation_id: str) -> Outcome | None:
        try:
            while (wait := await self._gate.enter(str(event.to))) > 0:
                if wait > LONGEST_GATE_S:
                    return Outcome("unreachable", reason=f"not tried: it is left alone for {wait:.0f} s")
                await asyncio.sleep(wait)
            left = self._left(event)
            if left < SHORTEST_SEND:
                return None
            within = min(LONGEST_SEND, left)
            return await request(self._target, self._gate, event.to, letter, correlation_id, within)
        except Exception as error:
            logger.exception("sending %s %s failed", event.module, event.object_id)
            return Outcome("refused", reason=f"{type(error).__name__} while sending")

    async def _ended(self, event: AttemptDue, outcome: Outcome, version: int, meta: Meta) -> None:
        self.counts[outcome.outcome] = self.counts.get(outcome.outcome, 0) + 1
        await self._report(event, outcome, version, meta)

    async def _report(self, event: AttemptDue, outcome: Outcome, version: int, meta: Meta) -> None:
        command = ReportAttempt(
            to=event.to,
            module=event.module,
            object_id=event.object_id,
            attempt=event.attempt,
            begun=event.originator_version,
            outcome=outcome.outcome,
            sent=version if outcome.outcome == "delivered" else 0,
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
        except Exception:
            # Whatever it is, nobody would miss us: what waits behind it in its party's queue would wait for ever.
            logger.exception(
                "that %s %s was %s cannot be recorded", event.module, event.object_id, outcome.outcome
            )
