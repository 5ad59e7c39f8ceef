"""Tells partners of the objects whose newest state replaces older ones: folds them, sends them, keeps the account.

What enters: the facts of the partitions held. What leaves: one request for each object that is due, as the fold has
it then; reports to the partition's account (`domain.pushes`), at most one a second; and each CDR's own delivery, once
its session's end was answered. A request is begun only within ten seconds of a proof that the account is ours, and
lasts ten at most: so who takes a partition over from somebody who said nothing is silent for twenty, and no older
object arrives after a newer one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic

import msgspec

from commands.base import Area, Command, Meta
from commands.delivery import Want
from commands.pushes import Account, Report, Standing, TakeOver
from domain.aggregate import Event, EventRegistry
from domain.outbox import AWAY_AGAIN, Outbox, Push, owed
from domain.pushes import SPACING, Mark, OwedCdr
from domain.session import Started
from domain.values import PartyId
from projections.base import View
from projections.store import HUB, ReadStore, StoreUnavailable
from streams.bus import CommandBus
from streams.envelope import Fence, Reply, select_events
from streams.facts import Fact, HaltError, TransientError, admitted
from streams.gate import Gate
from streams.log import Log, LogUnavailable, TopicPartition
from streams.ranges import stretch
from streams.sink import MOST_IN_ALL, Sink
from streams.target import LONGEST_SEND, Content, Job, Letter, Outcome, Target

logger = logging.getLogger(__name__)

LEASE_S = 10.0
"""How long a proof that the account is ours lasts."""
QUIET_S = LEASE_S + LONGEST_SEND.total_seconds()
"""How long whoever held it before may still send."""
REPORT_EVERY_S = 1.0
TOLD_EVERY_S = 10.0
"""How long it may stand nowhere but in a position up to where all is told."""
ASKED_EVERY_S = 15.0
"""How long a person's word on what was given up may go unheard."""
HANDOVER_LOOKED_FOR_S = 2.0
AGAIN_S = 0.5
GATHER_S = 0.1
CLOSING_S = 1.0
"""How long a process that ends waits for its requests, to hand over."""
OVER = frozenset({"COMPLETED", "INVALID"})


@dataclass(slots=True, eq=False)
class _Desk:
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
    room: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when less waits than before."""

    def wake(self) -> None:
        """Something has changed."""
        self.sending_news.set()
        self.report_news.set()


class Pushes(Generic[Letter]):
    """`sink` is what it does with facts of sessions. `view` folds one into the document that a partner is sent."""

    def __init__(
        self,
        log: Log,
        bus: CommandBus,
        events: EventRegistry,
        view: View,
        store: ReadStore,
        target: Target[Letter],
        gate: Gate,
        clock: Callable[[], datetime],
        *,
        concurrency: int = 8,
    ) -> None:
        self._log = log
        self._bus = bus
        self._events = events
        self._view = view
        self._store = store
        self._target = target
        self._gate = gate
        self._clock = clock
        self._concurrency = concurrency
        self._names = frozenset(name for name in events.events if name.startswith(f"{view.kind}."))
        self._by = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._desks: dict[TopicPartition, _Desk] = {}
        self._closing: dict[TopicPartition, asyncio.Task[None]] = {}
        self._under_way: Counter[str] = Counter()
        self._watching: asyncio.Task[None] | None = None
        self.sink = Sink(
            log,
            "pushes",
            [Area.SESSION],
            self._handle,
            gather=GATHER_S,
            forget=self._changed,
            keeper=self,
            ended=self._end,
            most_in_all=MOST_IN_ALL,
        )
        self.counts: dict[str, int] = {}

    @property
    def _module(self) -> str:
        return self._view.collection

    @property
    def waiting(self) -> int:
        """Objects that are not told yet."""
        return sum(len(desk.outbox) for desk in self._desks.values())

    # -- partitions come and go -------------------------------------------------------------------------------------

    def _changed(self, place: TopicPartition) -> None:
        desk = self._desks.pop(place, None)
        if desk is not None:
            closing = asyncio.create_task(self._close(desk, after=self._closing.get(place)))
            self._closing[place] = closing
            closing.add_done_callback(self._closed)
        if place in self.sink.lanes:
            self._desks[place] = desk = _Desk(place, Outbox(self._clock(), SPACING[self._module]))
            desk.tasks.append(asyncio.create_task(self._hold(desk)))
            if self._watching is None:
                self._watching = asyncio.create_task(self._watch())

    async def _hold(self, desk: _Desk) -> None:
        """Take the account over, and work on it."""
        if (before := self._closing.get(desk.place)) is not None:
            await asyncio.wait([before])
        account = await self._take_over(desk)
        lane = self.sink.lanes[desk.place]
        outbox = Outbox(self._clock(), SPACING[self._module])
        outbox.take_up(account.through, account.waiting, account.behind, self._clock())
        outbox.at = Mark(offset=lane.at.offset, epoch=lane.at.epoch)
        desk.outbox, desk.handled = outbox, lane.at.offset
        desk.ready.set()
        desk.tasks.append(asyncio.create_task(self._serve(desk)))
        desk.tasks.append(asyncio.create_task(self._report_forever(desk)))

    async def _take_over(self, desk: _Desk) -> Account:
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            try:
                desk.lost_end = False
                end = (await self._log.ends([desk.place]))[desk.place]
                command = TakeOver(module=self._module, partition=desk.place.partition, by=self._by)
                reply = await self._ask(command)
                if reply.refusal is None:
                    account = msgspec.json.decode(reply.result, type=Account)
                    break
                logger.error("%s[%d] cannot be taken over: %s", *desk.place, reply.message)
            except LogUnavailable as error:
                logger.warning("%s[%d] is not taken over yet: %s", *desk.place, error)
            await asyncio.sleep(AGAIN_S)
        desk.epoch, desk.clear = account.epoch, account.clear
        desk.proven_until, desk.quiet_until = asked + LEASE_S, loop.time() + QUIET_S
        desk.lost_end = account.through > end
        return account

    async def _ask(self, command: Command, correlation_id: str = "") -> Reply:
        meta = Meta(
            command_id=f"pushes|{self._by}|{next(self._numbers)}",
            at=self._clock(),
            correlation_id=correlation_id,
            principal="effects",
        )
        return await self._bus.ask(command, meta)

    def _closed(self, closing: asyncio.Task[None]) -> None:
        self._closing = {place: one for place, one in self._closing.items() if one is not closing}

    async def _close(
        self, desk: _Desk, patience: float | None = None, after: asyncio.Task[None] | None = None
    ) -> None:
        """Send nothing more, and say so once nothing is on its way."""
        if desk.closed:
            return
        desk.closed = True
        for task in (*desk.tasks, *desk.walks.values()):
            task.cancel()
        if after is not None:
            await asyncio.wait([after])
        if desk.sends:
            await asyncio.wait(desk.sends, timeout=patience)
        if desk.sends or not desk.ready.is_set() or not self._may_send(desk):
            return
        news = desk.outbox.news()
        report = Report(
            module=self._module,
            partition=desk.place.partition,
            epoch=desk.epoch,
            through=news.through,
            waiting=news.waiting,
            told=news.told,
            behind=dict(news.behind),
            caught_up=news.caught_up,
            last=True,
        )
        meta = Meta(
            command_id=f"pushes|{self._by}|{next(self._numbers)}", at=self._clock(), principal="effects"
        )
        with contextlib.suppress(LogUnavailable):  # then the next holder waits
            await self._bus.tell(report, meta)

    async def write_due(self) -> None:
        """Each partition's account is reported by itself."""

    async def write(self) -> None:
        """The group is left: hand over what can be."""
        await asyncio.gather(*(self._close(desk, CLOSING_S) for desk in self._desks.values()))

    def unwritten(self, place: TopicPartition) -> tuple[int, int] | None:
        desk = self._desks.get(place)
        if desk is None or not desk.ready.is_set():
            return None
        held = desk.outbox.position
        return (held.offset, held.epoch) if held.offset < desk.outbox.at.offset else None

    def _end(self) -> None:
        for desk in self._desks.values():
            for task in (*desk.tasks, *desk.walks.values(), *desk.sends):
                task.cancel()
        for closing in self._closing.values():
            closing.cancel()
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        # What was broken off may still arrive: who goes on is somebody else.
        self._by = secrets.token_hex(8)
        self._desks.clear()
        self._under_way.clear()

    # -- facts ------------------------------------------------------------------------------------------------------

    async def _handle(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        desk = self._desks[place]
        await desk.ready.wait()
        if desk.lost_end:
            raise HaltError("the account of pushes is ahead of the log, which has lost its end")
        told = [(fact, select_events(fact.decision, self._events, self._names)) for fact in facts]
        await self._meet(desk, told)
        for fact, events in told:
            await self._take(desk, fact, events)
        desk.handled = max(desk.handled, facts[-1].offset + 1)
        if facts[-1].offset >= desk.outbox.at.offset:
            desk.outbox.at = Mark(offset=facts[-1].offset + 1, epoch=facts[-1].decision.epoch)
        desk.wake()

    async def _meet(self, desk: _Desk, told: Sequence[tuple[Fact, Sequence[Event]]]) -> None:
        """Read the objects of which something is owed, and which began before we followed. Raises TransientError."""
        known, missing = set(desk.contents), dict[str, None]()
        for fact, events in told:
            id = _object_of(fact)
            means = owed(events, fact.offset)
            if any(isinstance(event, Started) for event in events):
                known.add(id)
            elif means is not None and id not in known:
                after_all = fact.offset < desk.handled
                if desk.outbox.concerns(means, id, _mark(fact), after_all=after_all):
                    missing[id] = None
        if not missing:
            return
        try:
            found = await self._store.get_many(HUB, self._view.collection, list(missing))
        except StoreUnavailable as error:
            raise TransientError(str(error)) from None
        for id, document in found.items():
            desk.contents[id] = Content(document, _version(document))

    async def _take(self, desk: _Desk, fact: Fact, events: Sequence[Event]) -> None:
        id, outbox = _object_of(fact), desk.outbox
        means = owed(events, fact.offset)
        after_all = fact.offset < desk.handled
        new = means is not None and outbox.concerns(means, id, _mark(fact), after_all=after_all)
        self._fold(desk, id, events, fact.decision.meta, needed=new)
        if means is not None and new:
            released = outbox.owe(
                means,
                id,
                _mark(fact),
                self._clock(),
                tenant=fact.decision.meta.tenant,
                correlation_id=fact.decision.meta.correlation_id,
                after_all=after_all,
            )
            for cdr in released:
                await self._want(
                    desk, means.to, cdr, fact.decision.meta.tenant, fact.decision.meta.correlation_id
                )
        if means is not None:
            self._let_go(desk, str(means.to), id)

    def _fold(self, desk: _Desk, id: str, events: Sequence[Event], meta: Meta, *, needed: bool) -> None:
        """Raises TransientError where something before is missing: the read model has not got there."""
        content = desk.contents.get(id)
        for event in events:
            if content is None:
                if isinstance(event, Started) and event.authorization.owner is not None:
                    content = Content({}, event.originator_version - 1)
                else:
                    continue
            if event.originator_version <= content.version:
                continue
            if event.originator_version != content.version + 1:
                del desk.contents[id]
                content = None
                break
            document = dict(content.document) or None
            content = Content(self._view.evolve(document, event, meta) or {}, event.originator_version)
        if content is not None:
            desk.contents[id] = content
        elif needed:
            raise TransientError(f"the read model has not got to {self._view.kind} {id} yet")

    def _let_go(self, desk: _Desk, to: str, id: str) -> None:
        """What is over and told needs no memory."""
        content = desk.contents.get(id)
        if (
            content is not None
            and content.document.get("status") in OVER
            and desk.outbox.get((to, id)) is None
        ):
            del desk.contents[id]
            desk.outbox.forget(to, id)

    # -- requests ---------------------------------------------------------------------------------------------------

    def _may_send(self, desk: _Desk) -> bool:
        """Whether whoever held the partition before us sends nothing any more."""
        return desk.clear or asyncio.get_running_loop().time() >= desk.quiet_until

    def _is_proven(self, desk: _Desk) -> bool:
        """Whether nobody else can have begun to send."""
        return asyncio.get_running_loop().time() < desk.proven_until and not desk.closed

    async def _serve(self, desk: _Desk) -> None:
        while True:
            desk.sending_news.clear()
            wait = self._begin_due(desk)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await desk.sending_news.wait()

    def _begin_due(self, desk: _Desk) -> float | None:
        """Begin what is due; the seconds until something else will be."""
        loop, now = asyncio.get_running_loop(), self._clock()
        if not self._may_send(desk):
            return desk.quiet_until - loop.time()
        due = desk.outbox.due(now)
        if due and not self._is_proven(desk):
            desk.wants_proof = True
            desk.report_news.set()
            return None
        for push in due:
            to = push.key[0]
            if self._under_way[to] < self._concurrency:
                self._under_way[to] += 1
                desk.outbox.begin(push)
                task = asyncio.create_task(self._send_one(desk, push))
                desk.sends.add(task)
                task.add_done_callback(desk.sends.discard)
            else:
                desk.crowded = True
        following = desk.outbox.next_due(now)
        return None if following is None else max(0.0, (following - now).total_seconds())

    async def _send_one(self, desk: _Desk, push: Push) -> None:
        to = push.key[0]
        try:
            await self._try(desk, push)
        except Exception as error:
            logger.exception("pushing %s %s failed", self._module, push.object_id)
            desk.outbox.failed(push, "refused", f"{type(error).__name__} while pushing", self._clock())
        finally:
            self._under_way[to] -= 1
            desk.room.set()
            desk.wake()
            for one in self._desks.values():
                if one.crowded:
                    one.crowded = False
                    one.sending_news.set()

    async def _try(self, desk: _Desk, push: Push) -> None:
        to, outbox = push.key[0], desk.outbox
        job = Job(push.to, self._module, push.object_id)
        letter: Letter | Outcome
        try:
            content = await self._content(desk, push)
            if content is None:
                outbox.postpone(push, self._clock() + timedelta(seconds=1))
                return
            letter = await self._target.prepare(job, content)
        except StoreUnavailable as error:
            logger.warning("%s %s is not pushed yet: %s", self._module, push.object_id, error)
            outbox.postpone(push, self._clock() + timedelta(seconds=1))
            return
        if isinstance(letter, Outcome):
            outcome = letter
        elif (wait := await self._gate.enter(to)) > 0:
            outbox.postpone(push, self._clock() + timedelta(seconds=wait))
            return
        elif not self._is_proven(desk):
            outbox.postpone(push, self._clock())
            return
        else:
            outcome = await self._request(letter, push)
        await self._became(desk, push, content.version, outcome)

    async def _request(self, letter: Letter, push: Push) -> Outcome:
        to = push.key[0]
        try:
            async with asyncio.timeout(LONGEST_SEND.total_seconds()):
                outcome = await self._target.send(letter, push.correlation_id)
        except TimeoutError:
            outcome = Outcome("unknown", reason=f"no answer in {LONGEST_SEND.total_seconds():.0f} s")
        if outcome.answered:
            await self._gate.answered(to)
        else:
            await self._gate.failed(to)
        if outcome.retry_after:
            await self._gate.hold(to, outcome.retry_after)
        return outcome

    async def _became(self, desk: _Desk, push: Push, version: int, outcome: Outcome) -> None:
        self.counts[outcome.outcome] = self.counts.get(outcome.outcome, 0) + 1
        outbox, to = desk.outbox, push.key[0]
        if outcome.outcome == "offline":
            outbox.postpone(push, self._clock())
            for one in self._desks.values():
                one.outbox.offline(to)
                one.room.set()
            return
        if outcome.answered:
            await self._release(desk, push, version)
        if outcome.outcome == "delivered":
            outbox.sent(push, version, self._clock())
            self._let_go(desk, to, push.object_id)
            return
        after = timedelta(seconds=outcome.retry_after)
        if outbox.failed(push, outcome.outcome, outcome.reason[:500], self._clock(), after):
            logger.error(
                "%s %s is given up for %s after 24 hours: %s",
                self._module,
                push.object_id,
                to,
                outcome.reason,
            )
            await self._release(desk, push, version)

    async def _content(self, desk: _Desk, push: Push) -> Content | None:
        """The object as it is now; None where the read model has not got there."""
        content = desk.contents.get(push.object_id)
        if content is not None:
            return content
        found = await self._store.get_many(HUB, self._view.collection, [push.object_id])
        document = found.get(push.object_id)
        if document is None or _version(document) < push.version:
            return None
        return Content(document, _version(document))

    async def _release(self, desk: _Desk, push: Push, version: int) -> None:
        """Let the CDRs go whose session the partner has answered for."""
        for cdr in push.cdrs:
            if cdr.version <= version:
                await self._want(desk, push.to, cdr, push.tenant, push.correlation_id)
        desk.outbox.released(push, version)

    async def _want(self, desk: _Desk, to: PartyId, cdr: OwedCdr, tenant: str, correlation_id: str) -> None:
        """Until the log says that it is wanted: nobody would say it again."""
        want = Want(
            to=to,
            module="cdrs",
            object_id=cdr.id,
            tenant=tenant,
            version=cdr.version,
            partition=desk.place.partition,
            offset=cdr.offset,
        )
        while not desk.closed:
            meta = Meta(
                command_id=f"pushes|{to}|{cdr.id}|{cdr.version}",
                at=self._clock(),
                tenant=tenant,
                correlation_id=correlation_id,
                principal="effects",
                caused_at=cdr.issued_at,
            )
            try:
                reply = await self._bus.ask(want, meta)
            except LogUnavailable as error:
                logger.warning("CDR %s is not wanted yet: %s", cdr.id, error)
                await asyncio.sleep(AGAIN_S)
                continue
            if reply.refusal is not None:
                logger.error("CDR %s cannot be wanted: %s", cdr.id, reply.message)
            return

    # -- the account ------------------------------------------------------------------------------------------------

    async def _report_forever(self, desk: _Desk) -> None:
        while True:
            desk.report_news.clear()
            wait = self._until_report(desk)
            if wait is not None and wait <= 0:
                await self._report(desk)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await desk.report_news.wait()

    def _until_report(self, desk: _Desk) -> float | None:
        """Seconds until the account is to hear of us; None for as long as nothing changes."""
        outbox, now = desk.outbox, asyncio.get_running_loop().time()
        moments: list[float] = []
        if not self._may_send(desk):
            moments.append(desk.reported_at + HANDOVER_LOOKED_FOR_S)
        elif desk.wants_proof:
            moments.append(now)
        elif outbox.due(self._clock()):
            moments.append(desk.proven_until - LEASE_S / 2)
        if outbox.news().matters:
            moments.append(desk.reported_at + REPORT_EVERY_S)
        elif outbox.has_told:
            moments.append(desk.reported_at + TOLD_EVERY_S)
        if outbox.given_up:
            moments.append(desk.reported_at + ASKED_EVERY_S)
        if not moments:
            return None
        least = desk.reported_at + AGAIN_S if desk.unanswered else 0.0
        return max(min(moments), least) - now

    async def _report(self, desk: _Desk) -> None:
        loop, outbox = asyncio.get_running_loop(), desk.outbox
        asked, news = loop.time(), outbox.news()
        desk.reported_at, desk.unanswered = asked, True
        command = Report(
            module=self._module,
            partition=desk.place.partition,
            epoch=desk.epoch,
            through=news.through,
            waiting=news.waiting,
            told=news.told,
            behind=dict(news.behind),
            caught_up=news.caught_up,
        )
        try:
            reply = await self._ask(command)
        except LogUnavailable as error:
            logger.warning("what was pushed of %s[%d] is not reported: %s", *desk.place, error)
            return
        if reply.refusal is not None:
            logger.warning("what was pushed of %s[%d] does not count: %s", *desk.place, reply.message)
            await self._take_back(desk)
            return
        outbox.reported(news)
        standing = msgspec.json.decode(reply.result, type=Standing)
        desk.clear = desk.clear or standing.clear
        desk.proven_until = asked + LEASE_S
        desk.unanswered = desk.wants_proof = False
        outbox.retry(standing.retries, self._clock())
        desk.sending_news.set()

    async def _take_back(self, desk: _Desk) -> None:
        """Somebody else has taken it over. Where the group still says that it is ours, we are the newer holder."""
        desk.proven_until = 0.0
        await asyncio.sleep(HANDOVER_LOOKED_FOR_S)
        account = await self._take_over(desk)
        desk.outbox.take_up_again(account.waiting, account.behind, self._clock())
        desk.unanswered = desk.wants_proof = False
        desk.wake()

    # -- partners that are away, or behind ---------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look whether partners are back."""
        while True:
            await asyncio.sleep(AWAY_AGAIN.total_seconds())
            names = {
                name for desk in self._desks.values() for name in (*desk.outbox.away, *desk.outbox.behind)
            }
            for name in sorted(names):
                try:
                    if await self._target.connected(_party(name)):
                        self._back(name)
                except StoreUnavailable as error:
                    logger.warning("whether %s is connected is not known: %s", name, error)

    def _back(self, name: str) -> None:
        for desk in self._desks.values():
            if name in desk.outbox.away:
                desk.outbox.back(name, self._clock())
            if name in desk.outbox.behind and name not in desk.walks and desk.ready.is_set():
                walk = asyncio.create_task(self._walk(desk, name))
                desk.walks[name] = walk
                walk.add_done_callback(lambda _, desk=desk: desk.walks.pop(name, None))  # type: ignore[misc]
            desk.wake()

    async def _walk(self, desk: _Desk, name: str) -> None:
        """Its facts since it is behind, some objects at a time, each as it is now."""
        outbox = desk.outbox
        try:
            while name in outbox.behind and name not in outbox.away:
                falls = outbox.falls[name]
                mark = outbox.behind[name]
                fence = Fence(mark.epoch)
                while outbox.falls[name] == falls and mark.offset < outbox.at.offset:
                    mark = await self._walk_on(desk, name, mark, fence)
                if outbox.falls[name] == falls:
                    outbox.caught_up(name)
                    desk.wake()
        except LogUnavailable as error:
            logger.warning("%s stays behind at %s[%d]: %s", name, *desk.place, error)
        except Exception:
            logger.exception("%s stays behind at %s[%d]", name, *desk.place)

    async def _walk_on(self, desk: _Desk, name: str, mark: Mark, fence: Fence) -> Mark:
        """As far as the facts have come; where it has fallen behind anew meanwhile, that is for nothing."""
        outbox, end, falls = desk.outbox, desk.outbox.at.offset, desk.outbox.falls[name]
        async with contextlib.aclosing(stretch(self._log, desk.place, mark.offset, end)) as batches:
            async for batch in batches:
                for stored in batch:
                    while outbox.room(name) <= 0:
                        desk.room.clear()
                        await desk.room.wait()
                    facts, damage = admitted(desk.place, fence, [stored])
                    if damage is not None:
                        raise damage
                    if outbox.falls[name] != falls:
                        return mark
                    for fact in facts:
                        await self._walk_over(desk, name, fact)
                    if outbox.falls[name] != falls:
                        return mark
                    outbox.walked(name, Mark(offset=stored.offset + 1, epoch=fence.epoch))
                desk.wake()
        mark = Mark(offset=end, epoch=fence.epoch)
        outbox.walked(name, mark)
        return mark

    async def _walk_over(self, desk: _Desk, name: str, fact: Fact) -> None:
        means = owed(select_events(fact.decision, self._events, self._names), fact.offset)
        if means is None or str(means.to) != name:
            return
        meta = fact.decision.meta
        released = desk.outbox.owe(
            means,
            _object_of(fact),
            _mark(fact),
            self._clock(),
            tenant=meta.tenant,
            correlation_id=meta.correlation_id,
            walked=True,
        )
        for cdr in released:
            await self._want(desk, means.to, cdr, meta.tenant, meta.correlation_id)


def _object_of(fact: Fact) -> str:
    return fact.aggregate.partition("|")[2]


def _mark(fact: Fact) -> Mark:
    return Mark(offset=fact.offset, epoch=fact.decision.epoch)


def _version(document: object) -> int:
    version = document.get("version") if isinstance(document, dict) else None
    return version if isinstance(version, int) else 0


def _party(name: str) -> PartyId:
    country_code, _, party_id = name.partition("*")
    return PartyId(country_code=country_code, party_id=party_id)
