"""Tells partners of the objects whose newest state replaces older ones: folds them, and sends them as they are then.

What enters: the facts of the partitions held. What leaves: one request for each object that is due (`domain.outbox`),
and each CDR's own delivery, once its session's end was answered. Beside it stands the account of the partition
(`streams.effects.desk`), by which there is one teller, and no older object arrives after a newer one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic

import msgspec

from commands.base import Area, Meta
from commands.delivery import Want
from commands.directory import AskOwner, OwnerReply
from domain.aggregate import Event, EventRegistry, kind_of
from domain.foreign_cdr import ForeignCdr
from domain.foreign_session import ForeignSessionBegun
from domain.outbox import AWAY_AGAIN, Key, Outbox, Push, Told
from domain.owed import owed, posted
from domain.pushes import SPACING, Mark, OwedCdr
from domain.session import SessionStarted
from domain.values import PartyId
from projections.base import View
from projections.store import HUB, ReadStore, StoreUnavailableError
from streams.deciding.bus import CommandBus
from streams.effects.desk import Accounts, Desk
from streams.effects.gate import LONGEST_HELD_S, Gate
from streams.effects.target import Content, Job, Letter, Outcome, Target, request
from streams.effects.walk import Walker, mark_of, object_of
from streams.following.facts import Fact, HaltError, TransientError
from streams.following.sink import MOST_IN_ALL, Sink
from streams.log import Log, LogUnavailableError, TopicPartition
from streams.log.envelope import select_events

logger = logging.getLogger(__name__)

BEGINNINGS = (SessionStarted, ForeignSessionBegun)
"""Before them nothing is known of an object."""

AGAIN_S = 0.5
CATCHING_UP_S = 0.05
"""How often is looked whether what happened before the partition was taken over is read."""
SHORTEST_WAIT_S = 0.01
"""Of who is told to wait: a clock and the gate's may differ by less than either shows."""
GATHER_S = 0.1
OWNER_EVERY_S = 600.0
"""How often the log is asked who speaks for a party that is not connected."""
CLOSING_S = 0.7
"""How long a process that ends waits for its requests, to hand over."""


class Pushes(Generic[Letter]):
    """`sink` is what it does with facts of sessions. `views`, one for each kind, fold one into the document that a
    partner is sent; all are of one collection."""

    def __init__(
        self,
        log: Log,
        bus: CommandBus,
        events: EventRegistry,
        views: Sequence[View],
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
        self._views = {view.kind: view for view in views}
        [self._module] = {view.collection for view in views}
        self._store = store
        self._target = target
        self._gate = gate
        self._clock = clock
        self._concurrency = concurrency
        self._names = frozenset(
            name for name in events.events if name.partition(".")[0] in (*self._views, ForeignCdr.kind)
        )
        self._accounts = Accounts(log, bus, self._module, clock)
        self._walker = Walker(log, events, self._names, self._want, clock)
        self._desks: dict[TopicPartition, Desk] = {}
        self._closing: dict[TopicPartition, asyncio.Task[None]] = {}
        self._just_told: dict[TopicPartition, dict[Key, Told]] = {}
        """What this process told of a partition that it has lost: it may get it back."""
        self._under_way: Counter[str] = Counter()
        self._watching: asyncio.Task[None] | None = None
        self._ask_owner_at: dict[str, float] = {}
        self._life, self._numbers = secrets.token_hex(8), itertools.count(1)
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
            self._desks[place] = desk = Desk(place, Outbox(self._clock(), SPACING[self._module]))
            self._begin(desk, self._hold(desk))
            if self._watching is None:
                self._watching = asyncio.create_task(self._watch())

    async def _hold(self, desk: Desk) -> None:
        """Take the account over, and work on it."""
        if (before := self._closing.get(desk.place)) is not None:
            await asyncio.wait([before])
        account = await self._accounts.take_over(desk)
        lane = self.sink.lanes[desk.place]
        outbox = Outbox(self._clock(), SPACING[self._module], self._just_told.pop(desk.place, None))
        outbox.take_up(account.through, account.waiting, account.behind, self._clock())
        outbox.at = Mark(offset=lane.at.offset, epoch=lane.at.epoch)
        desk.outbox, desk.handled = outbox, lane.at.offset
        desk.ready.set()
        self._begin(desk, self._serve(desk))
        self._begin(desk, self._accounts.report_forever(desk))

    def _begin(self, desk: Desk, work: Coroutine[Any, Any, None]) -> None:
        """Work on a partition until that is closed."""
        task = asyncio.create_task(work)
        desk.tasks.append(task)
        task.add_done_callback(partial(self._worked, desk))

    def _worked(self, desk: Desk, task: asyncio.Task[None]) -> None:
        """What has ended by a mistake of ours would be missed by nobody: the partition halts with one line."""
        desk.sends.discard(task)
        if task.cancelled() or (error := task.exception()) is None or self._desks.get(desk.place) is not desk:
            return
        logger.error("%s[%d] cannot be told of any more", *desk.place, exc_info=error)
        self.sink.halt(desk.place, error)

    def _closed(self, closing: asyncio.Task[None]) -> None:
        self._closing = {place: one for place, one in self._closing.items() if one is not closing}

    async def _close(
        self, desk: Desk, patience: float | None = None, after: asyncio.Task[None] | None = None
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
        self._just_told[desk.place] = desk.outbox.just_told(self._clock())
        if not desk.sends and desk.ready.is_set() and desk.may_send:
            await self._accounts.hand_over(desk)

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
        self._accounts.begin_anew()
        self._desks.clear()

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
            # At once: a walk ends here, and what was left to it must not be left to us.
            if fact.offset >= desk.outbox.at.offset:
                desk.outbox.at = Mark(offset=fact.offset + 1, epoch=fact.decision.epoch)
        desk.handled = max(desk.handled, facts[-1].offset + 1)
        desk.wake()

    async def _meet(self, desk: Desk, told: Sequence[tuple[Fact, Sequence[Event]]]) -> None:
        """Read the objects of which something is owed, and which began before we followed. Raises TransientError."""
        known, missing = set(desk.contents), dict[str, None]()
        for fact, events in told:
            id = object_of(fact)
            means = owed(events, fact.offset)
            if any(isinstance(event, BEGINNINGS) for event in events):
                known.add(id)
            elif means is not None and id not in known:
                after_all = fact.offset < desk.handled
                if desk.outbox.concerns(means, id, mark_of(fact), after_all=after_all):
                    missing[id] = None
        if not missing:
            return
        try:
            found = await self._store.get_many(HUB, self._module, list(missing))
        except StoreUnavailableError as error:
            raise TransientError(str(error)) from None
        for id, document in found.items():
            desk.contents[id] = Content(document, _version(document))

    async def _take(self, desk: Desk, fact: Fact, events: Sequence[Event]) -> None:
        id, outbox = object_of(fact), desk.outbox
        await self._hand_on(desk, fact, events)
        means = owed(events, fact.offset)
        if means is not None:
            desk.gone.discard(str(means.to))
        after_all = fact.offset < desk.handled
        new = means is not None and outbox.concerns(means, id, mark_of(fact), after_all=after_all)
        self._fold(desk, id, events, fact.decision.meta, needed=new)
        if means is not None and new:
            released = outbox.owe(
                means,
                id,
                mark_of(fact),
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
            desk.let_go(str(means.to), id)

    async def _hand_on(self, desk: Desk, fact: Fact, events: Sequence[Event]) -> None:
        """A CDR that a CPO posted waits for nothing of ours: when its session ended was the CPO's to tell."""
        if (cdr := posted(events, fact.offset)) is None:
            return
        if not desk.outbox.is_new(mark_of(fact), after_all=fact.offset < desk.handled):
            return
        to, meta = cdr[0], fact.decision.meta
        desk.gone.discard(str(to))
        if not await self._want(desk, to, cdr[1], meta.tenant, meta.correlation_id):
            raise TransientError("the partition is given up")

    def _fold(self, desk: Desk, id: str, events: Sequence[Event], meta: Meta, *, needed: bool) -> None:
        """Raises TransientError where something before is missing: the read model has not got there."""
        content = desk.contents.get(id)
        for event in events:
            begins = isinstance(event, BEGINNINGS) and owed([event], offset=0) is not None
            if begins and (content is None or content.version < event.originator_version):
                content = Content({}, event.originator_version - 1)
            if content is None:
                continue
            if event.originator_version <= content.version:
                continue
            if event.originator_version != content.version + 1:
                del desk.contents[id]
                content = None
                break
            document = dict(content.document) or None
            view = self._views[kind_of(event.originator_id)]
            content = Content(view.evolve(document, event, meta) or {}, event.originator_version)
        if content is not None:
            desk.contents[id] = content
        elif needed:
            raise TransientError(f"the read model has not got to {self._module} {id} yet")

    # -- requests ---------------------------------------------------------------------------------------------------

    async def _serve(self, desk: Desk) -> None:
        while True:
            desk.sending_news.clear()
            wait = self._begin_due(desk)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await desk.sending_news.wait()

    def _begin_due(self, desk: Desk) -> float | None:
        """Begin what is due; the seconds until something else will be."""
        loop, now = asyncio.get_running_loop(), self._clock()
        if not desk.may_send:
            return desk.quiet_until - loop.time()
        lane = self.sink.lanes.get(desk.place)
        if lane is None or lane.at.offset < desk.history:
            return CATCHING_UP_S  # an object as it was halfway there may be older than what was told of it
        due = desk.outbox.due(now)
        if due and not desk.is_proven:
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
                task.add_done_callback(partial(self._worked, desk))
            else:
                desk.crowded = True
        following = desk.outbox.next_due(now)
        return None if following is None else max(0.0, (following - now).total_seconds())

    async def _send_one(self, desk: Desk, push: Push) -> None:
        to = push.key[0]
        try:
            await self._try(desk, push)
        except Exception as error:
            logger.exception("pushing %s %s failed", self._module, push.object_id)
            await self._failed(desk, push, Outcome("refused", reason=f"{type(error).__name__} while pushing"))
        finally:
            self._under_way[to] -= 1
            desk.wake()
            for one in self._desks.values():
                if one.crowded:
                    one.crowded = False
                    one.sending_news.set()

    async def _try(self, desk: Desk, push: Push) -> None:
        to, outbox, epoch = push.key[0], desk.outbox, desk.epoch
        job = Job(push.to, self._module, push.object_id)
        letter: Letter | Outcome
        try:
            content = await self._content(desk, push)
            if content is None and not push.version:
                outbox.failed(push, "refused", "the read model has no such object", self._clock())
                return
            if content is None:
                outbox.postpone(push, self._clock() + timedelta(seconds=1))
                return
            letter = await self._target.prepare(job, content)
        except StoreUnavailableError as error:
            logger.warning("%s %s is not pushed yet: %s", self._module, push.object_id, error)
            outbox.postpone(push, self._clock() + timedelta(seconds=1))
            return
        if isinstance(letter, Outcome):
            outcome = letter
        elif (wait := await self._gate.enter(to)) > 0:
            outbox.postpone(push, self._clock() + timedelta(seconds=max(wait, SHORTEST_WAIT_S)))
            return
        elif not desk.is_proven or desk.epoch != epoch:
            # Whoever held the partition meanwhile may have told something newer.
            outbox.postpone(push, self._clock())
            return
        else:
            outcome = await request(self._target, self._gate, push.to, letter, push.correlation_id)
        await self._became(desk, push, content.version, outcome)

    async def _became(self, desk: Desk, push: Push, version: int, outcome: Outcome) -> None:
        self.counts[outcome.outcome] = self.counts.get(outcome.outcome, 0) + 1
        outbox, to = desk.outbox, push.key[0]
        if outcome.outcome == "offline":
            outbox.postpone(push, self._clock())
            for one in self._desks.values():
                one.outbox.offline(to)
                one.room.set()
            return
        if outcome.answered and not await self._release(desk, push, version):
            # We end, and its CDRs are not on their way: whoever holds it next asks again.
            outbox.postpone(push, self._clock())
            return
        if outcome.outcome == "delivered":
            outbox.sent(push, version, self._clock())
            desk.let_go(to, push.object_id)
            return
        await self._failed(desk, push, outcome)

    async def _failed(self, desk: Desk, push: Push, outcome: Outcome) -> None:
        """It was tried in vain; where it is given up, its CDRs go on all the same."""
        after = timedelta(seconds=min(outcome.retry_after, LONGEST_HELD_S))
        reason, now = outcome.reason[:500], self._clock()
        if desk.outbox.failed(push, outcome.outcome, reason, now, after, for_good=outcome.for_good):
            logger.error(
                "%s %s is given up for %s: %s",
                self._module,
                push.object_id,
                push.key[0],
                outcome.reason,
            )
            await self._release(desk, push, push.version)

    async def _content(self, desk: Desk, push: Push) -> Content | None:
        """The object as it is now; None where the read model has not got there."""
        content = desk.contents.get(push.object_id)
        if content is not None:
            return content
        found = await self._store.get_many(HUB, self._module, [push.object_id])
        document = found.get(push.object_id)
        if document is None or _version(document) < push.version:
            return None
        return Content(document, _version(document))

    async def _release(self, desk: Desk, push: Push, version: int) -> bool:
        """Let the CDRs go whose session the partner has answered for. Whether they are on their way."""
        for cdr in push.cdrs:
            if cdr.version <= version and not await self._want(
                desk, push.to, cdr, push.tenant, push.correlation_id
            ):
                return False
        desk.outbox.released(push, version)
        return True

    async def _want(self, desk: Desk, to: PartyId, cdr: OwedCdr, tenant: str, correlation_id: str) -> bool:
        """Until the log says that it is wanted: nobody would say it again. False where we end before it does."""
        want = Want(
            to=to,
            module="cdrs",
            object_id=cdr.id,
            tenant=tenant,
            version=cdr.version,
            partition=desk.place.partition,
            offset=cdr.offset,
        )
        while True:
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
            except LogUnavailableError as error:
                logger.warning("CDR %s is not wanted yet: %s", cdr.id, error)
                if desk.closed:
                    return False
                await asyncio.sleep(AGAIN_S)
                continue
            if reply.refusal is not None:
                logger.error("CDR %s cannot be wanted: %s", cdr.id, reply.message)
            return True

    # -- partners that are away, or behind ---------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look whether partners are back."""
        while True:
            await asyncio.sleep(AWAY_AGAIN.total_seconds())
            names = {
                name
                for desk in self._desks.values()
                for name in (*desk.outbox.away, *desk.outbox.behind)
                if name not in desk.gone
            }
            for name in sorted(names):
                try:
                    if await self._target.connected(PartyId.of(name)):
                        self._back(name)
                    else:
                        await self._look_for_owner(name)
                except (StoreUnavailableError, LogUnavailableError) as error:
                    logger.warning("whether %s is connected is not known: %s", name, error)
                except Exception:
                    # What cannot be said of one must not keep the others away for ever.
                    logger.exception("whether %s is connected cannot be said", name)

    async def _look_for_owner(self, name: str) -> None:
        """A partner that was removed never comes back, and whoever speaks for its party later is told of nothing that
        came about before: it is asked for no more, until something new happens. The log is asked, as a read model
        may lack what it is to have. Raises LogUnavailableError."""
        now = asyncio.get_running_loop().time()
        if now < self._ask_owner_at.get(name, now):
            return
        self._ask_owner_at[name] = now + OWNER_EVERY_S
        desks = list(self._desks.values())
        for desk in desks:
            desk.gone.add(name)
        is_gone = False
        try:
            id = f"owner|{name}|{self._life}|{next(self._numbers)}"
            meta = Meta(command_id=id, at=self._clock(), principal="effects")
            reply = await self._bus.ask(AskOwner(party=name), meta)
            is_gone = reply.refusal is None and not msgspec.json.decode(reply.result, type=OwnerReply).owner
        except BaseException:
            del self._ask_owner_at[name]
            raise
        finally:
            if not is_gone:
                for desk in desks:
                    desk.gone.discard(name)
        if is_gone:
            logger.warning("%s is spoken for by nobody any more: what waits for it is not tried again", name)

    def _back(self, name: str) -> None:
        for desk in self._desks.values():
            if name in desk.outbox.away:
                desk.outbox.back(name, self._clock())
            if name in desk.outbox.behind and name not in desk.walks and desk.ready.is_set():
                walk = asyncio.create_task(self._walker.walk(desk, name))
                desk.walks[name] = walk
                walk.add_done_callback(lambda _, desk=desk: desk.walks.pop(name, None))  # type: ignore[misc]
            desk.wake()


def _version(document: object) -> int:
    version = document.get("version") if isinstance(document, dict) else None
    return version if isinstance(version, int) else 0
